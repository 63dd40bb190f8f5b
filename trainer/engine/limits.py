"""What every engine holds a request to: the context it has room for, and signs of life while it waits."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from trainer.engine.protocol import GenerationError, GenerationRequest
from trainer.errors import EngineError

_Answer = TypeVar("_Answer")


def require_room(request: GenerationRequest, max_model_len: int) -> None:
    """Refuse a request that could outgrow the engine's context.

    Raises:
        GenerationError: prompt and `max_tokens` together exceed `max_model_len` tokens.
    """
    if len(request.token_ids) + request.max_tokens > max_model_len:
        raise GenerationError(
            f"a prompt of {len(request.token_ids)} tokens and {request.max_tokens} new ones exceed the "
            f"engine's context of {max_model_len}; raise engine.max_model_len"
        )


async def wait_while_sampling(
    answer: asyncio.Future[_Answer],
    sampled_tokens: Callable[[], Awaitable[int]],
    timeout_s: float,
    log: str,
) -> _Answer:
    """Wait for an answer for as long as the engine samples anything at all.

    A request may stand in line for long, so its own silence proves nothing. Every `timeout_s` seconds the
    engine's count of sampled tokens is read; one that has not moved since the last time is that of an engine
    that hangs, which is so noticed between one and two times `timeout_s` after its last token.

    Args:
        answer: of a request to the engine; cancelled when this function raises.
        sampled_tokens: reads the engine's counter; raises EngineError when that has no answer either.
        timeout_s: seconds of the engine's silence that are borne.
        log: where the engine's log is, for the message.

    Raises:
        EngineError: the engine hangs.
    """
    seen: int | None = None
    try:
        while not (await asyncio.wait({answer}, timeout=timeout_s))[0]:
            now = await sampled_tokens()
            if now == seen and not answer.done():
                raise hangs(timeout_s, log)
            seen = now
        return answer.result()
    finally:
        answer.cancel()


async def in_thread(work: Callable[[], _Answer], timeout_s: float, doing: str) -> _Answer:
    """Do blocking work in a thread of its own; one that does not come back in time is left behind.

    Nothing waits for such a thread, not even the end of the process: a peer that died amid a collective of
    NCCL is waited for by its library for ever.

    Args:
        work: what blocks.
        timeout_s: seconds it may take.
        doing: what it does, for the message.

    Raises:
        EngineError: it took longer.
    """
    done: Future[_Answer] = Future()
    done.set_running_or_notify_cancel()  # it cannot be cancelled, only left

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # whoever waits is told
            done.set_exception(error)

    threading.Thread(target=run, name=doing, daemon=True).start()
    try:
        return await asyncio.wait_for(asyncio.wrap_future(done), timeout_s)
    except TimeoutError:
        if done.done():  # its own
            raise
        raise EngineError(
            f"{doing} did not end within {timeout_s:g} s; its log may say why; if it is only slow, raise "
            "engine.timeout_s"
        ) from None


def hangs(timeout_s: float, log: str) -> EngineError:
    """The error of an engine that was silent for `timeout_s` seconds."""
    return EngineError(
        f"the engine hangs: it lives, but nothing came of it for {timeout_s:g} s while a request waited; "
        f"{log} may say why; if it is only slow, raise engine.timeout_s"
    )
