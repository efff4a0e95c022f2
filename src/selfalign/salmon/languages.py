"""Tell languages apart with py3langid: a small model inside its package, nothing is downloaded.

    text  ->  byte n-grams  ->  ISO 639-1 code, such as "en"

Imported only where a language rule is wanted; it needs the package `py3langid`.
"""

from functools import lru_cache
from importlib.metadata import version
from typing import Any, cast

from py3langid import langid  # pyright: ignore[reportMissingTypeStubs]

from selfalign.core.errors import InputError


class PyLangId:
    """A `LanguageIdentifier`; short texts are told apart better among few languages."""

    def __init__(self, among: tuple[str, ...] = ()) -> None:
        """Take the codes that are possible; none: all that py3langid knows.

        Raises:
            InputError: py3langid does not know one of them.
        """
        # py3langid is untyped. The identifier is our own: its module-level one has global settings.
        model = cast("Any", langid)
        self._identifier: Any = model.LanguageIdentifier.from_model_file(model.MODEL_FILE)
        known = {str(code) for code in self._identifier.labels}
        strangers = sorted(set(among) - known)
        if strangers:
            raise InputError(
                f"py3langid knows no language {', '.join(map(repr, strangers))}; use codes such as "
                f"'en', 'de' or 'zh', out of {', '.join(sorted(known))}."
            )
        if among:
            self._identifier.set_languages(list(among))
        self._codes = lru_cache(maxsize=1 << 16)(self._code)
        self.fingerprint = f"py3langid-{version('py3langid')}-{','.join(sorted(set(among)))}"

    def __call__(self, text: str) -> str:
        """Return the code of the most likely language."""
        return self._codes(text)

    def _code(self, text: str) -> str:
        return str(self._identifier.classify(text)[0])
