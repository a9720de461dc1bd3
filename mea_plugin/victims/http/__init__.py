"""A victim behind HTTP: how it is asked is options."""

from mea_plugin.core.packages import check_installed

check_installed('aiolimiter', 'httpx', 'tenacity')

from mea_plugin.victims.http.victim import HTTPVictim  # noqa: E402 - one error for all three

__all__ = ['HTTPVictim']
