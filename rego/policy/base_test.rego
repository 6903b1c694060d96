package caracal.base_test

import data.caracal.base

all_facts := {
	"known": true,
	"presenter": true,
	"live": true,
	"principals_active": true,
	"within_time": true,
	"action": true,
	"resource": true,
	"chain": true,
}

nothing := {"deny": set(), "approve": set(), "obligations": set()}

denial := {"code": "no_embeddings", "message": "embeddings are not allowed"}

test_all_facts_and_a_silent_workspace_permit if {
	base.decision.allow with input.facts as all_facts with data.caracal.workspace as nothing
}

test_the_facts_of_the_input_are_the_required_ones if {
	object.keys(all_facts) == {fact | some fact in base.required}
}

test_each_fact_that_is_missing_denies_and_is_named[fact] if {
	some fact, _ in all_facts
	decision := base.decision with input.facts as object.remove(all_facts, [fact])
		with data.caracal.workspace as nothing
	decision.allow == false
	decision.unmet == [fact]
}

test_each_fact_that_is_false_denies_and_is_named[fact] if {
	some fact, _ in all_facts
	decision := base.decision with input.facts as object.union(all_facts, {fact: false})
		with data.caracal.workspace as nothing
	decision.allow == false
	decision.unmet == [fact]
}

test_a_fact_that_is_not_exactly_true_denies[value] if {
	some value in ["true", 1, null, {}, [true], {"established": true}]
	decision := base.decision with input.facts as object.union(all_facts, {"live": value})
		with data.caracal.workspace as nothing
	decision.allow == false
	decision.unmet == ["live"]
}

test_unmet_facts_come_in_the_order_of_the_checks if {
	decision := base.decision with input.facts as {"known": true, "within_time": true}
		with data.caracal.workspace as nothing
	decision.unmet == ["presenter", "live", "principals_active", "action", "resource", "chain"]
}

test_an_empty_input_denies_everything if {
	decision := base.decision with input as {} with data.caracal.workspace as nothing
	decision.allow == false
	decision.unmet == base.required
}

test_a_denial_of_the_workspace_denies if {
	decision := base.decision with input.facts as all_facts
		with data.caracal.workspace as object.union(nothing, {"deny": {denial}})
	decision.allow == false
	decision.deny == {denial}
}

test_a_needed_approval_denies if {
	decision := base.decision with input.facts as all_facts
		with data.caracal.workspace as object.union(nothing, {"approve": {denial}})
	decision.allow == false
	decision.approve == {denial}
}

test_an_obligation_alone_permits if {
	decision := base.decision with input.facts as all_facts
		with data.caracal.workspace as object.union(nothing, {"obligations": {{"max_duration_seconds": 30}}})
	decision.allow == true
	decision.obligations == {{"max_duration_seconds": 30}}
}

test_a_workspace_that_lacks_a_set_leaves_no_decision[name] if {
	some name in ["deny", "approve", "obligations"]
	not base.decision with input.facts as all_facts
		with data.caracal.workspace as object.remove(nothing, [name])
}
