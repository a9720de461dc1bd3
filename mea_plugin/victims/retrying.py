"""When an attempt that brought no answer is made again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.victims.remote import NotAnsweredError, RefusedError, Reply, Retrying, Session

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

__all__ = ['ask_until_answered', 'attempts', 'failure']


def attempts(retrying: Retrying) -> AsyncRetrying:
    """Attempts for ``async for``: after a :class:`NotAnsweredError`, a wait and another; the last one's is raised.

    The wait grows exponentially, with jitter, and is never shorter than what the service asks for.
    """
    # Asking a victim in this process retries nothing, and imports this module, too.
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

    grow = wait_exponential_jitter(initial=retrying.first, max=retrying.longest, jitter=retrying.first)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, 'wait', None) or 0.0
        if asked > retrying.patience:
            raise InputError(
                f'the service asks to wait {asked:.0f} s',
                where='victim.retry.patience',
                do='Run the same command again later to go on, or raise patience',
            )
        return max(float(grow(state)), asked)

    return AsyncRetrying(
        stop=stop_after_attempt(retrying.attempts),
        wait=wait,
        retry=retry_if_exception_type(NotAnsweredError),
        reraise=True,
    )


async def ask_until_answered(session: Session, image: np.ndarray, retrying: Retrying) -> Reply:
    """Ask, without a ledger.

    Raises:
        InputError: There was no answer.
    """
    key = secrets.token_hex(16)
    try:
        async for attempt in attempts(retrying):
            with attempt:
                await session.turn()
                try:
                    return await session.ask(image, key)
                except RefusedError as error:
                    key = secrets.token_hex(16) if error.new_key else key
                    raise
    except NotAnsweredError as error:
        raise failure(error) from error
    raise AssertionError('the last attempt returns or raises')


def failure(error: NotAnsweredError) -> InputError:
    """What the last attempt's failure means to the user."""
    return InputError(f'no answer: {error}', where='victim', do='Check the service, then run the same command again')
