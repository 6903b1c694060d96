# The policy of the demo. It runs after Caracal has checked the mandate, and it can only narrow: what a mandate does
# not cover stays denied, whatever is written here.
#
# Try it: change a rule, push it, and send the same request again. `. .caracal/dev.env` first, then the commands that
# `make run` prints.
package caracal.policy

# Each entry of deny refuses the request with its code and message. The rules are independent of each other: a request
# passes only if none of them holds.
deny contains {
	"code": "no_embeddings",
	"message": "this workspace does not compute embeddings",
} if {
	"embeddings" in input.request.path
}

# `data` would hold documents of your own; a set that is written out does as well.
readers := {"GET", "HEAD", "OPTIONS"}

# A mandate that was delegated twice or more may only read.
deny contains {
	"code": "delegated_too_far",
	"message": sprintf("a mandate of level %d may only read", [input.mandate.level]),
} if {
	input.mandate.level >= 2
	input.request.mode == "gateway"
	not input.request.method in readers
}

# An obligation lets the request pass and bounds it: nothing here takes longer than ten minutes.
obligations contains {"max_duration_seconds": 600}
