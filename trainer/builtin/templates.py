"""The patterns that built-in problems are drawn from.

Each pattern draws its numbers so that every intermediate result is a whole number and none is negative.
Their wording shares its few words, so that a vocabulary of 512 tokens suffices.
"""

import operator
import random
from collections.abc import Callable, Iterator

NAMES = (
    "Amy", "Ann", "Ben", "Dan", "Emma", "Eva", "Hugo", "Ivy", "Jack", "Kate", "Leo", "Lily",
    "Luke", "Max", "Maya", "Mia", "Nina", "Noah", "Omar", "Paul", "Rosa", "Sam", "Tom", "Zoe",
)  # fmt: skip
OBJECTS = (
    "apples", "balls", "beads", "books", "cakes", "cards", "coins", "cups",
    "eggs", "hats", "nuts", "pens", "plums", "shells", "stamps", "toys",
)  # fmt: skip

_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


class Sheet:
    """One problem being made: draws its parts and records its worked steps."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng.random
        self.steps: list[str] = []
        self.result = 0

    def number(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        # Not randint: Python keeps only random() the same from version to version.
        return low + int(self._random() * (high - low + 1))

    def names(self, count: int) -> Iterator[str]:
        """So many different names."""
        return self._different(NAMES, count)

    def things(self, count: int) -> Iterator[str]:
        """So many different kinds of object."""
        return self._different(OBJECTS, count)

    def work(self, words: str, left: int, sign: str, right: int, unit: str) -> int:
        """Record one worked step, `words left sign right = result unit.`, and return its result.

        Later steps open with "Then", so that every name follows a space and needs only one form of token.
        """
        self.result = _OPERATIONS[sign](left, right)
        opening = f"Then {words}" if self.steps else words[0].upper() + words[1:]
        self.steps.append(f"{opening} {left} {sign} {right} = {self.result} {unit}.")
        return self.result

    def _different(self, options: tuple[str, ...], count: int) -> Iterator[str]:
        drawn: list[str] = []
        while len(drawn) < count:
            option = options[int(self._random() * len(options))]
            if option not in drawn:
                drawn.append(option)
        return iter(drawn)


def _boxes(s: Sheet) -> str:
    (name,), (thing,) = s.names(1), s.things(1)
    boxes, each, more = s.number(2, 9), s.number(3, 15), s.number(3, 60)
    inside = s.work("the boxes hold", boxes, "*", each, thing)
    s.work(f"{name} has", inside, "+", more, thing)
    return f"{name} buys {boxes} boxes of {each} {thing} and {more} more {thing}. How many {thing} are there?"


def _gift(s: Sheet) -> str:
    (name, friend), (thing,) = s.names(2), s.things(1)
    first, more = s.number(5, 60), s.number(5, 60)
    given = s.number(2, first + more - 1)
    total = s.work(f"{name} has", first, "+", more, thing)
    s.work("there are", total, "-", given, "left")
    return (
        f"{name} has {first} {thing} and finds {more} more. {name} gives {given} to {friend}. "
        f"How many {thing} are left?"
    )


def _times_as_many(s: Sheet) -> str:
    (name, friend), (thing,) = s.names(2), s.things(1)
    own, times = s.number(3, 30), s.number(2, 6)
    theirs = s.work(f"{friend} has", own, "*", times, thing)
    s.work("they have", own, "+", theirs, thing)
    return (
        f"{name} has {own} {thing}. {friend} has {times} times as many. How many {thing} do they have in all?"
    )


def _fair_share(s: Sheet) -> str:
    (name, friend), (thing,) = s.names(2), s.things(1)
    children, each = s.number(2, 9), s.number(4, 14)
    own = s.number(2, children * each - 2)
    theirs = children * each - own
    total = s.work("they have", own, "+", theirs, thing)
    s.work("each child gets", total, "/", children, thing)
    return (
        f"{name} has {own} {thing} and {friend} has {theirs}. They give them all to {children} children. "
        f"How many {thing} does each child get?"
    )


def _change(s: Sheet) -> str:
    (name,), (thing,) = s.names(1), s.things(1)
    count, price, bag = s.number(2, 9), s.number(2, 12), s.number(2, 20)
    paid = s.number(count * price + bag + 1, count * price + bag + 60)
    cost = s.work(f"the {thing} cost", count, "*", price, "dollars")
    total = s.work(f"{name} pays", cost, "+", bag, "dollars")
    s.work("there are", paid, "-", total, "left")
    return (
        f"{name} has {paid} dollars and buys {count} {thing} for {price} dollars each and a bag for {bag} "
        f"dollars. How many dollars are left?"
    )


def _wages(s: Sheet) -> str:
    (name,) = s.names(1)
    hours, days, wage = s.number(2, 4), s.number(2, 5), s.number(3, 9)
    spent = s.number(2, hours * days * wage - 1)
    worked = s.work(f"{name} works", hours, "*", days, "hours")
    earned = s.work(f"{name} gets", worked, "*", wage, "dollars")
    s.work("there are", earned, "-", spent, "left")
    return (
        f"{name} works {hours} hours a day for {days} days and gets {wage} dollars an hour. "
        f"{name} pays {spent} dollars for a toy. How many dollars are left?"
    )


def _half(s: Sheet) -> str:
    (name, friend), (thing,) = s.names(2), s.things(1)
    half = s.number(5, 40)
    lost, found = s.number(1, half - 1), s.number(3, 60)
    kept = s.work(f"{name} has", 2 * half, "/", 2, thing)
    left = s.work("there are", kept, "-", lost, "left")
    s.work(f"{name} has", left, "+", found, thing)
    return (
        f"{name} has {2 * half} {thing}, gives half of them to {friend}, loses {lost} and then finds "
        f"{found}. How many {thing} does {name} have?"
    )


def _savings(s: Sheet) -> str:
    (name, friend) = s.names(2)
    weekly, weeks, gift = s.number(3, 15), s.number(2, 8), s.number(3, 40)
    price = s.number(weekly * weeks + gift + 1, weekly * weeks + gift + 60)
    saved = s.work(f"{name} saves", weekly, "*", weeks, "dollars")
    total = s.work(f"{name} has", saved, "+", gift, "dollars")
    s.work(f"{name} needs", price, "-", total, "more")
    return (
        f"{name} saves {weekly} dollars a week for {weeks} weeks and gets {gift} more from {friend}. "
        f"A book costs {price} dollars. How many more dollars does {name} need?"
    )


def _bags(s: Sheet) -> str:
    (name,), (thing,) = s.names(1), s.things(1)
    bags, each, lost = s.number(2, 9), s.number(2, 9), s.number(2, 20)
    first = s.number(2, bags * each + lost - 1)
    more = bags * each + lost - first
    total = s.work(f"{name} has", first, "+", more, thing)
    left = s.work("there are", total, "-", lost, "left")
    s.work(f"{name} needs", left, "/", each, "bags")
    return (
        f"{name} has {first} {thing}, finds {more} more and loses {lost}. A bag holds {each} {thing}. "
        f"How many bags does {name} need?"
    )


def _rows(s: Sheet) -> str:
    (name,), (thing,) = s.names(1), s.things(1)
    rows, each, gift = s.number(2, 7), s.number(2, 7), s.number(2, 5)
    empty = s.number(1, rows * each - 2)
    boxes = s.work("there are", rows, "*", each, "boxes")
    full = s.work("there are", boxes, "-", empty, "left")
    s.work("the boxes hold", full, "*", gift, thing)
    return (
        f"{name} has {rows} rows of {each} boxes and loses {empty} boxes. A box holds {gift} {thing}. "
        f"How many {thing} are left?"
    )


def _three_friends(s: Sheet) -> str:
    (name, friend, other), (thing,) = s.names(3), s.things(1)
    first, more = s.number(3, 40), s.number(2, 30)
    less = s.number(1, first + more - 1)
    second = s.work(f"{friend} has", first, "+", more, thing)
    third = s.work(f"{other} has", second, "-", less, thing)
    both = s.work(f"{name} and {friend} have", first, "+", second, thing)
    s.work("they have", both, "+", third, thing)
    return (
        f"{name} has {first} {thing}. {friend} has {more} more than {name}. {other} has {less} less than "
        f"{friend}. How many {thing} do they have in all?"
    )


def _two_prices(s: Sheet) -> str:
    (name,), (thing, other) = s.names(1), s.things(2)
    first, price, second, other_price = s.number(2, 9), s.number(2, 12), s.number(2, 9), s.number(2, 12)
    cost = s.work(f"the {thing} cost", first, "*", price, "dollars")
    other_cost = s.work(f"the {other} cost", second, "*", other_price, "dollars")
    s.work(f"{name} pays", cost, "+", other_cost, "dollars")
    return (
        f"{name} buys {first} {thing} for {price} dollars each and {second} {other} for {other_price} "
        f"dollars each. How many dollars does {name} pay?"
    )


def _pages(s: Sheet) -> str:
    (name,) = s.names(1)
    daily, days, more = s.number(3, 15), s.number(2, 7), s.number(2, 30)
    pages = s.number(daily * days + more + 1, daily * days + more + 60)
    steady = s.work(f"{name} reads", daily, "*", days, "pages")
    read = s.work(f"{name} reads", steady, "+", more, "pages")
    s.work("there are", pages, "-", read, "left")
    return (
        f"A book has {pages} pages. {name} reads {daily} pages a day for {days} days and then {more} pages. "
        f"How many pages are left?"
    )


def _lead(s: Sheet) -> str:
    (name, friend), (thing,) = s.names(2), s.things(1)
    slower, lead, days = s.number(3, 50), s.number(2, 15), s.number(2, 9)
    daily = s.work(f"{name} makes", slower + lead, "-", slower, "more")
    s.work(f"{name} makes", daily, "*", days, "more")
    return (
        f"{name} makes {slower + lead} {thing} a day and {friend} makes {slower}. "
        f"How many more {thing} does {name} make in {days} days?"
    )


def _stops(s: Sheet) -> str:
    half, on = s.number(4, 40), s.number(2, 30)
    # Whatever gets on and stays adds up to an even number, so that half of them can leave.
    stayed = max(2 * half - on, 1)
    on = 2 * half - stayed
    off = s.number(2, 30)
    left = s.work("there are", stayed + off, "-", off, "left")
    riders = s.work("there are", left, "+", on, "children")
    s.work("there are", riders, "/", 2, "left")
    return (
        f"A bus has {stayed + off} children, {off} get off and {on} get on. Half of them all get off. "
        f"How many children are left?"
    )


def _packs(s: Sheet) -> str:
    (name, friend, other), (thing,) = s.names(3), s.things(1)
    first, each, second, other_each = s.number(2, 9), s.number(2, 12), s.number(2, 9), s.number(2, 12)
    given = s.number(2, first * each + second * other_each - 1)
    own = s.work(f"{name} has", first, "*", each, thing)
    theirs = s.work(f"{friend} has", second, "*", other_each, thing)
    total = s.work("they have", own, "+", theirs, thing)
    s.work("there are", total, "-", given, "left")
    return (
        f"{name} has {first} bags of {each} {thing}. {friend} has {second} bags of {other_each}. "
        f"They give {given} to {other}. How many {thing} are left?"
    )


_ALL: tuple[Callable[[Sheet], str], ...] = (
    _boxes,
    _gift,
    _times_as_many,
    _fair_share,
    _change,
    _wages,
    _half,
    _savings,
    _bags,
    _rows,
    _three_friends,
    _two_prices,
    _pages,
    _lead,
    _stops,
    _packs,
)

TEMPLATES = {template.__name__.removeprefix("_"): template for template in _ALL}
"""The patterns by name: each draws a problem's parts, records its steps and returns its question."""
