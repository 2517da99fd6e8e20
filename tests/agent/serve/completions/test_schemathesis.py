"""Generated requests against every route: none may fail on the server, and every answer is as the API describes it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from medgym.agent.policies.local import LoadedModel
from medgym.agent.serve.completions import create_app

# Not among them: positive_data_acceptance. What a schema cannot say is refused too: an unknown model, ids beyond the
# vocabulary, a conversation without a question, a schema that no grammar can follow.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
CASES = {"/v1/chat/completions": 350, "/v1/completions": 350}
OTHERS = 200


@pytest.mark.slow
def test_no_generated_request_fails(fresh_policy: LoadedModel) -> None:
    app = create_app(fresh_policy, name="policy", max_tokens=3, max_model_len=512, runtime_lora=True)
    sent: Counter[tuple[str, int]] = Counter()
    with TestClient(app, raise_server_exceptions=False):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        for found in schema.get_all_operations():
            operation: Any = found.ok()
            try_operation(operation, sent)
    assert sum(sent.values()) >= 1500
    assert not [status for _, status in sent if status >= 500]
    assert sent["/v1/chat/completions", 200] >= 20
    assert sent["/v1/completions", 200] >= 20


def try_operation(operation: Any, sent: Counter[tuple[str, int]]) -> None:
    """Send generated requests of one operation, right and wrong ones."""
    strategy = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body:
        strategy = st.one_of(strategy, operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))

    @settings(
        max_examples=CASES.get(operation.path, OTHERS),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        completing = operation.path.startswith("/v1/c") and isinstance(case.body, dict)
        if completing and isinstance(case.body.get("model"), str):
            case.body["model"] = "policy"  # else hardly any request would be for a model that is there
        response = case.call_and_validate(checks=CHECKS)
        sent[operation.path, response.status_code] += 1

    send()
