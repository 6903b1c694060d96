"""Requests that are valid by the document are refused for what no schema can say, and for nothing else."""

import re

import schemathesis

# What a refusal may be about although each parameter is as described: other things, and the request as a whole.
BEYOND_SCHEMAS = re.compile(
    "|".join(
        [
            r"is not a next_cursor of this list",
            r"names another workspace than",
            r"says which workspace is meant",
            r"an API key has no session",
            r"a segment is \. or \.\.",
            r"has an empty segment",
            r"has a brace or a bracket",
        ]
    )
)


@schemathesis.check
def refused_beyond_schemas(ctx, response, case):
    generation = case.meta.generation if case.meta else None
    if generation is None or not generation.mode.is_positive or response.status_code != 400:
        return
    if case.method not in ("GET", "DELETE"):
        return  # what the fields of a body mean together is the service's to say
    problem = response.json()
    if (case.headers or {}).get(problem.get("field") or "-") == "":
        return  # the tool sends an empty header where it finds no text for a pattern
    told = problem.get("detail", "")
    assert BEYOND_SCHEMAS.search(told), f"a valid request was refused: {problem.get('field')}: {told}"
