"""The price that counts: made here, when a call is committed."""

from __future__ import annotations

import logging
import threading
import time

from configurable_agents.observability.cost_estimator import CostEstimator, Price
from configurable_agents.runtime import bounds
from configurable_agents.telemetry import LlmCall, PriceStatus

_log = logging.getLogger(__name__)


class CallPricer:
    """Prices calls with the estimator that the library uses too. Implements `records.Pricer`."""

    def __init__(self, estimator: CostEstimator) -> None:
        self._estimator = estimator
        self._problem = ""
        self._refreshing = threading.Lock()

    def __call__(self, call: LlmCall) -> Price:
        try:
            price = self._estimator.price(
                provider=call.provider,
                model=call.model,
                usage=call.usage,
                at_unix_ns=call.started_unix_ns,
                service_tier=call.service_tier,
                batch=call.batch,
                stated_cost_nanos=call.stated_cost_nanos,
                anomalies=call.anomalies,
            )
        except Exception as error:  # noqa: BLE001 - the call must be kept, whatever becomes of its price
            _log.exception("pricing failed for %s/%s", call.provider, call.model)
            return Price(PriceStatus.UNPRICED, reason=f"pricing failed: {type(error).__name__}")
        if price.cost_nanos > bounds.COST_NANOS_MAX:
            return Price(PriceStatus.UNPRICED, card=price.card, reason="its price is no amount anyone pays")
        return price

    @property
    def table_version(self) -> str:
        return self._estimator.table_version

    def refresh(self) -> None:
        """Takes up what the user has changed about prices since. Its problems are logged once."""
        with self._refreshing:
            changed = self._estimator.refresh()
            problem = getattr(self._estimator.table, "problem", "")
            is_news = problem != self._problem
            self._problem = problem
        if is_news and problem:
            _log.warning("prices stay as they were: %s", problem)
        if changed:
            _log.info("prices changed table=%s", self._estimator.table_version)

    def look_for_problem(self) -> str:
        """Why what the user last said about prices is not used; empty when nothing is wrong. Reads a file."""
        self.refresh()
        return self._problem

    def warm_up(self) -> None:
        """Loads the price table, so that the first call does not wait for it."""
        try:
            self._estimator.rate_card("openai", "gpt-4o", at_unix_ns=time.time_ns())
        except Exception:  # noqa: BLE001 - it must not take the daemon with it
            _log.exception("the price table cannot be loaded; calls are kept without a price")
