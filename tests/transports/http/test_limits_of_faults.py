"""An input with a hundred thousand faults is answered as quickly as one with a hundred."""

import json
import time


async def test_a_hundred_thousand_unknown_fields_do_not_stop_the_loop(http):
    body = {"workspace": "w", "title": "t"} | {f"titel{number}": 1 for number in range(100_000)}
    begun = time.perf_counter()
    sent = json.dumps(body).encode()
    head = http.head("POST", "/api/notes", "Content-Type: application/json", f"Content-Length: {len(sent)}")
    answer = await http.raw(head.encode() + sent)
    problem = answer.json()
    assert (answer.status, problem["kind"], len(problem["data"]["faults"])) == (422, "invalid", 100)
    assert time.perf_counter() - begun < 3
