# The README's two commands. Both set up their own environment first; nothing is needed but
# Python 3.11 or newer and make. `make PYTHON=/path/to/python3 test` uses another interpreter.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
IN := $(VENV)/bin/python
READY := $(VENV)/.ready

BENCHMARKS := novelty generation scoring training rl store scale

.PHONY: quickstart test test-server benchmarks help

help:
	@echo "make quickstart   install, align the embedded base model, print what changed"
	@echo "make test         install, run every check"
	@echo "make benchmarks   install, print every ratio against its reference (an hour, best idle)"

quickstart: $(READY)
	$(VENV)/bin/selfalign run pocket --out runs/pocket

test: $(READY)
	$(IN) check

# torch comes first and alone, so that a CPU build lying in pip's find-links folder is preferred.
$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "selfalign needs Python 3.11 or newer and found '$(PYTHON)'; say make PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv $(VENV) || "$(PYTHON)" -m venv --clear --without-pip $(VENV)
	$(IN) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m pip --python $(IN) install pip || \
		{ echo "this Python can make no environment with pip; install its venv package (Debian: python3-venv)"; exit 2; }
	$(IN) -m pip install --quiet -c constraints.txt torch
	$(IN) -m pip install --quiet -c constraints.txt -e '.[dev,fast,language]'
	@touch $(READY)

# Needs a vLLM of its own environment: vllm on PATH, or SELFALIGN_VLLM_PYTHON=/path/to/its/python.
# On a CPU: VLLM_CPU_KVCACHE_SPACE=1 and
# SELFALIGN_VLLM_ARGS="--enforce-eager --gpu-memory-utilization 0.2".
test-server: $(READY)
	$(IN) -m pytest -m server src/selfalign/engines

# Against vLLM there is benchmarks/against_vllm.py, which needs a vLLM as above.
benchmarks: $(READY)
	mkdir -p runs/benchmarks
	for name in $(BENCHMARKS); do \
		$(IN) benchmarks/$$name.py --json runs/benchmarks/$$name.json || exit 1; \
	done
