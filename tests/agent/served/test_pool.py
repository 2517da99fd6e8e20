"""Which server an episode asks, and what happens when it does not answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from medgym.agent.policies.served import EndpointBusy, EndpointDown, EndpointPool, ServerError


class Owner:
    """An episode."""


class Names:
    """Servers that give their own name, unless they are down."""

    def __init__(self, *down: str) -> None:
        self.down = set(down)
        self.asked: list[str] = []

    def __call__(self, name: str) -> str:
        self.asked.append(name)
        if name in self.down:
            raise EndpointDown("gone")
        return name


@pytest.fixture
def pool_of() -> Callable[..., EndpointPool[str]]:
    def make(*names: str, patience: float = 30.0) -> EndpointPool[str]:
        return EndpointPool([(name, name) for name in names], "m", patience=patience)

    return make


def test_episodes_go_where_the_fewest_are_and_stay(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask = pool_of("a", "b", "c"), Names()
    owners = [Owner() for _ in range(7)]
    with ExitStack() as under_way:
        for owner in owners:
            under_way.enter_context(pool.episode(owner))
        assert pool.load() == [3, 2, 2]
        assert [pool.call(owner, ask) for owner in owners] == list("abcabca")
        assert [pool.call(owner, ask) for owner in reversed(owners)] == list("acbacba")
    assert pool.load() == [0, 0, 0]


def test_an_episode_whose_server_dies_moves_on(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask, owner = pool_of("a", "b"), Names("a"), Owner()
    with pool.episode(owner):
        assert pool.call(owner, ask) == "b"
        assert pool.load() == [0, 1]
        ask.down.clear()
        assert pool.call(owner, ask) == "b"
    assert ask.asked == ["a", "b", "b"]


def test_a_dead_server_is_tried_again(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask = pool_of("a", "b"), Names("a")
    first, held = Owner(), threading.Event()
    with pool.episode(first):
        pool.call(first, ask)
        ask.down.clear()
        while "a" not in ask.asked[1:]:
            owner = Owner()
            with pool.episode(owner):
                pool.call(owner, ask)
            held.wait(0.01)
    late = Owner()
    with pool.episode(late):
        assert pool.call(late, ask) == "a"


def test_all_are_dead_for_a_while(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask = pool_of("a", "b"), Names("a", "b")
    timer = threading.Timer(0.4, ask.down.clear)
    timer.start()
    answers: list[str] = []

    def one() -> None:
        owner = Owner()
        with pool.episode(owner):
            answers.append(pool.call(owner, ask))

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    timer.join()
    assert len(answers) == 20
    assert len(ask.asked) < 100  # many waited for the one that tried


@pytest.mark.parametrize("names", ["a", "ab"])
def test_patience_ends(pool_of: Callable[..., EndpointPool[str]], names: str) -> None:
    for patience in (0.0, 0.3):
        pool, ask = pool_of(*names, patience=patience), Names(*names)
        with pytest.raises(ServerError, match=f"no answer of m at {', '.join(names)} for {patience:g} s: .*gone"):
            pool.call(Owner(), ask)
        assert set(ask.asked) == set(names)


def test_a_request_that_no_server_can_answer_ends(pool_of: Callable[..., EndpointPool[str]]) -> None:
    """While others are answered, undisturbed."""
    pool, good = pool_of("a", patience=0.5), Names()
    stop = threading.Event()
    tries = 0

    def bad(name: str) -> str:
        nonlocal tries
        tries += 1
        raise EndpointBusy("500")

    def others() -> None:
        while not stop.wait(0.002):
            pool.call(Owner(), good)

    thread = threading.Thread(target=others)
    thread.start()
    with pytest.raises(ServerError, match=r"for 0\.5 s"):
        pool.call(Owner(), bad)
    stop.set()
    thread.join()
    assert tries < 10 < len(good.asked)


def test_a_busy_server_is_left_for_another(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, owner = pool_of("a", "b"), Owner()

    def ask(name: str) -> str:
        if name == "a":
            raise EndpointBusy("503")
        return name

    with pool.episode(owner):
        assert [pool.call(owner, ask) for _ in range(3)] == ["b", "b", "b"]
        assert pool.load() == [0, 1]


def test_who_waits_gives_up_when_the_pool_is_closed(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask = pool_of("a"), Names("a")
    timer = threading.Timer(0.2, pool.close)
    timer.start()
    with pytest.raises(ServerError, match="the run was left"):
        pool.call(Owner(), ask)
    timer.join()


def test_what_else_is_raised_passes_through(pool_of: Callable[..., EndpointPool[str]]) -> None:
    def refuse(name: str) -> str:
        raise ServerError(f"{name} says no")

    with pytest.raises(ServerError, match="a says no"):
        pool_of("a", "b").call(Owner(), refuse)


def test_first_contact_has_no_patience(pool_of: Callable[..., EndpointPool[str]]) -> None:
    pool, ask = pool_of("a", "b"), Names("a")
    assert pool.first_contact(ask) == ["b"]
    owner = Owner()
    with pool.episode(owner):
        assert pool.call(owner, ask) == "b"
    with pytest.raises(ServerError, match="no answer of m at a, b: gone; gone"):
        pool_of("a", "b").first_contact(Names("a", "b"))


def test_a_pool_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one server"):
        EndpointPool([], "m")
