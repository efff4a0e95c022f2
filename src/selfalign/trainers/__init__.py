"""Machines that change weights behind `core.protocols.SupervisedTrainer`."""
