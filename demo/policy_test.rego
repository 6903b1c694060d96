package caracal.policy_test

import data.caracal.policy

request(method, path) := {
	"request": {"mode": "gateway", "method": method, "path": path},
	"mandate": {"level": 0},
}

codes(input_document) := {d.code | some d in policy.deny with input as input_document}

test_chat_is_not_denied if {
	codes(request("POST", ["v1", "chat", "completions"])) == set()
}

test_embeddings_are_denied_wherever_they_stand_in_the_path if {
	codes(request("POST", ["v1", "embeddings"])) == {"no_embeddings"}
	codes(request("POST", ["v1", "engines", "ada", "embeddings"])) == {"no_embeddings"}
}

test_a_segment_that_merely_contains_the_word_is_not_denied if {
	codes(request("GET", ["v1", "embeddings-guide"])) == set()
}

test_a_mandate_delegated_twice_may_read_but_not_write if {
	delegated := {"mandate": {"level": 2}}
	codes(object.union(request("GET", ["v1", "models"]), delegated)) == set()
	codes(object.union(request("POST", ["v1", "models"]), delegated)) == {"delegated_too_far"}
}

test_nothing_takes_longer_than_ten_minutes if {
	policy.obligations == {{"max_duration_seconds": 600}}
}
