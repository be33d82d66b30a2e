"""What a network reads beside the target: the columns of its covariates. No torch: the driver prepares them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputSizes:
    """For each column, how many categories it has: 0 where it holds numbers.

    A category is a whole number from 1 on; 0 is one that the training rows do not have.

    Args:
        future: columns that are known over the horizon too; they come first.
        past: columns that are known up to the forecast's start.
        static: columns that do not change with time.
    """

    future: tuple[int, ...] = ()
    past: tuple[int, ...] = ()
    static: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.future or self.past or self.static)
