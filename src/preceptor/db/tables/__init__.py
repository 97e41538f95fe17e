"""The tables: the contract between stages. `raw` holds clinical text and is for `collect` and `curate` alone."""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase


class Table(DeclarativeBase):
    """The declarative root that every table shares."""
