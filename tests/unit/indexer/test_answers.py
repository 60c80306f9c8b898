"""What a failed request says is decided by its code, whatever status a service says it with."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from indexer.answers import Answer, answer_of


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"])
def test_refused_credentials_are_of_every_request_whatever_the_status(code: str, status: int) -> None:
    answer = Answer(status, code)
    assert (answer.is_of_credentials, answer.is_refusal, answer.is_transient) == (True, True, False)


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidObjectState"])
def test_one_object_may_be_refused_alone(code: str) -> None:
    answer = Answer(403, code)
    assert (answer.is_of_credentials, answer.is_refusal) == (False, True)


def test_a_refusal_without_a_known_code_is_of_the_credentials() -> None:
    assert Answer(403, "403").is_of_credentials
    assert Answer(401, "Unauthorized").is_of_credentials


@pytest.mark.parametrize(
    ("answer", "is_transient"),
    [
        (Answer(400, "RequestTimeout"), True),
        (Answer(400, "KMS.ThrottlingException"), True),
        (Answer(503, "SlowDown"), True),
        (Answer(409, "ConditionalRequestConflict"), True),
        (Answer(0, "ReadTimeoutError"), True),
        (Answer(507, "QuotaExceeded"), False),
        (Answer(501, "NotImplemented"), False),
        (Answer(404, "NoSuchKey"), False),
        (Answer(412, "PreconditionFailed"), False),
    ],
)
def test_what_may_pass_is_told_from_what_stays(answer: Answer, is_transient: bool) -> None:
    assert answer.is_transient is is_transient


def test_an_answer_is_read_from_what_the_client_raises() -> None:
    raised = ClientError({"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "GetObject")
    answer = answer_of(raised)
    assert (str(answer), answer.is_without_bucket, answer.is_missing) == ("NoSuchBucket (404)", True, False)
    nobody = answer_of(EndpointConnectionError(endpoint_url="http://x"))
    assert (str(nobody), nobody.is_unreachable, nobody.is_transient) == ("EndpointConnectionError", True, True)
