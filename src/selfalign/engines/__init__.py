"""Machines that generate and score text behind `core.protocols.LanguageModel`."""
