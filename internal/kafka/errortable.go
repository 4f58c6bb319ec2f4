package kafka

import (
	"fmt"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

//go:generate go test . -count=1 -run ErrorsReferenceIsCurrent$ -update

// errorRow is what is done about some errors, and why.
type errorRow struct {
	class Class
	wide  bool // see HubWide
	errs  []*kerr.Error
	why   string // in one or two sentences, for the reference
	act   string // what an operator does
}

const nothing = "Nothing; it passes."

// errorTable holds every code of the protocol that franz-go knows. Many can never
// answer a request of ours; they have a class all the same, so that a hub's
// mistake does not end in a wrong one.
func errorTable() []errorRow {
	return append(append(deadErrors(), heldErrors()...), passingErrors()...)
}

func deadErrors() []errorRow {
	return []errorRow{
		{
			ClassDead, false,
			[]*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge},
			"The record is larger than the topic takes. The gateway refuses at a limit below every hub's default, so this topic has a smaller one, " +
				"and a record that is refused alone would block its topic for ever.",
			"Raise `max.message.bytes` of the topic, or lower `gateway.message.max_bytes`; then release the dead letters (`postroad queue release`).",
		},
		{
			ClassDead, false,
			[]*kerr.Error{kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat},
			"The topic cannot hold this record: no key where the topic is compacted, a time it does not accept, headers in an old format. " +
				"It will not get better with time.",
			"See the reason in the dead letter. Mend the sender, or the topic's settings, and release the dead letters.",
		},
		{
			ClassDead, false,
			[]*kerr.Error{kerr.InvalidTopicException},
			"The hub will never have a topic of that name. Of a topic as a whole (when it is looked up) this counts as hold.",
			"Mend the sender. Discard the dead letters.",
		},
	}
}

func heldErrors() []errorRow {
	return []errorRow{
		{
			ClassHold, true,
			[]*kerr.Error{
				kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled,
				kerr.UnacceptableCredential, kerr.InvalidPrincipalType, kerr.PrincipalDeserializationFailure,
				kerr.DelegationTokenAuthorizationFailed, kerr.DelegationTokenAuthDisabled, kerr.DelegationTokenNotFound,
				kerr.DelegationTokenOwnerMismatch, kerr.DelegationTokenRequestNotAllowed, kerr.DelegationTokenExpired,
			},
			"The hub does not take who we say we are. All topics fare alike, so the breaker opens and nothing is moved aside.",
			"Put the right credential into the file that the settings name. It is read again by itself.",
		},
		{
			ClassHold, true,
			[]*kerr.Error{kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed},
			"Our user may not write to this hub at all: IdempotentWrite on the cluster, or the transactional id, is not granted to it.",
			"Grant it. It is tried again by itself.",
		},
		{
			ClassHold, true,
			[]*kerr.Error{
				kerr.UnsupportedVersion, kerr.InvalidRequiredAcks, kerr.MismatchedEndpointType, kerr.UnsupportedEndpointType,
				kerr.InconsistentClusterID,
			},
			"Hub and client do not fit together, or this is another cluster than the one we found first.",
			"Look whether the address is the one of the brokers (not of controllers), and whether the hub's version is one that is supported.",
		},
		{
			ClassHold, false,
			[]*kerr.Error{kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed},
			"Our user may not write to this topic. Event Hubs says the same of a namespace of the Basic tier and of a wrong connection string.",
			"Grant Write and Describe on the topic (Event Hubs: Send). Where every topic is held, look at the credential and the tier.",
		},
		{
			ClassHold, false,
			[]*kerr.Error{kerr.UnknownTopicOrPartition, kerr.TopicDeletionDisabled, kerr.ResourceNotFound, kerr.DuplicateResource},
			"The topic is not there. The client has ridden out the moment that a new topic takes to be known everywhere.",
			"Make the topic, or allow it to be made (`hub.create_topics`, and Create for our user). The reason says which.",
		},
		{
			ClassHold, false,
			[]*kerr.Error{kerr.PolicyViolation, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidReplicaAssignment, kerr.InvalidConfig},
			"The hub does not make the topic as `hub.partitions` and `hub.replication` want it, or refuses what is sent to it by a rule of its owner.",
			"Change the settings, or have the topic made.",
		},
		{
			ClassHold, false,
			[]*kerr.Error{kerr.UnsupportedCompressionType, kerr.InvalidRequest, kerr.InvalidFetchSize, kerr.InvalidRegularExpression},
			"The hub does not take requests as the settings shape them.",
			"Look at `hub.compression` and `hub.batch_max_bytes`.",
		},
		{
			ClassHold, false,
			[]*kerr.Error{kerr.LogDirNotFound, kerr.OffsetMovedToTieredStorage, kerr.InvalidUpdateVersion, kerr.FeatureUpdateFailed},
			"Answers to an administrator's requests, which are none of ours. Something stands between us and the hub, or the hub is broken.",
			"Ask whoever administers the hub.",
		},
	}
}

func passingErrors() []errorRow {
	return append([]errorRow{
		{
			ClassRetry, false,
			[]*kerr.Error{
				kerr.LeaderNotAvailable, kerr.NotLeaderForPartition, kerr.BrokerNotAvailable, kerr.ReplicaNotAvailable,
				kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.NewLeaderElected, kerr.PreferredLeaderNotAvailable,
				kerr.EligibleLeadersNotAvailable, kerr.ElectionNotNeeded, kerr.IneligibleReplica, kerr.ListenerNotFound,
				kerr.OffsetNotAvailable, kerr.NotController, kerr.StaleControllerEpoch, kerr.StaleBrokerEpoch, kerr.UnknownControllerID,
				kerr.BrokerIDNotRegistered, kerr.DuplicateBrokerRegistration, kerr.ControllerIDNotRegistered, kerr.RebootstrapRequired,
				kerr.ReassignmentInProgress, kerr.NoReassignmentInProgress, kerr.OperationNotAttempted,
			},
			"The cluster is moving: a broker restarts, a leader or the controller is elected, partitions are moved.",
			nothing + " Where it stays, a partition has no leader: ask whoever administers the hub.",
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.RequestTimedOut, kerr.NetworkException, kerr.UnknownServerError, kerr.CorruptMessage},
			"Whether it was stored is not known, or the reason says nothing (brokers on their way down do that), or the batch was damaged on its way. " +
				"It is sent again under the same sequence, or looked for first.",
			nothing,
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError},
			"Too few replicas are in sync for `min.insync.replicas`, or a broker's disk failed. The hub keeps its word to us by refusing; the queue keeps ours.",
			nothing + " Where it stays: bring the brokers back. After `forward.hold_after` the topic is held, so that others do not wait for it.",
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.ThrottlingQuotaExceeded},
			"We are over a quota. The client waits as long as it is told; `postroad status` shows for how long that was.",
			"Raise the quota or the throughput units, if it falls behind for long.",
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.UnknownTopicID, kerr.InconsistentTopicID},
			"The topic was deleted and made anew. The client holds on to the old one, so it is replaced, as if this process took its own chains over: " +
				"what was under way is looked for in the new topic, and sent where it is not there.",
			nothing + " What the old topic held is gone with it; `postroad queue replay` sends again what the stamp still keeps.",
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.TopicAlreadyExists},
			"Another stamp made the topic a moment before us.",
			nothing,
		},
		{
			ClassRetry, false,
			[]*kerr.Error{
				kerr.OutOfOrderSequenceNumber, kerr.DuplicateSequenceNumber, kerr.InvalidProducerEpoch, kerr.UnknownProducerID,
				kerr.InvalidProducerIDMapping, kerr.ProducerFenced,
			},
			"The hub has lost its memory of our producer, or another took its place. What was under way is looked for in the hub and sent where it is not there.",
			nothing,
		},
		{
			ClassRetry, false,
			[]*kerr.Error{kerr.OffsetOutOfRange, kerr.FetchSessionIDNotFound, kerr.InvalidFetchSessionEpoch, kerr.FetchSessionTopicIDError},
			"Of reading back: the log's beginning has moved, or the broker forgot what we were reading.",
			nothing + " `postroad_forward_marks_lost_total` counts what could not be looked for and was sent again.",
		},
	}, foreignErrors())
}

// foreignErrors answer requests that we never make.
func foreignErrors() errorRow {
	return errorRow{
		ClassRetry, false,
		[]*kerr.Error{
			kerr.OffsetMetadataTooLarge, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator,
			kerr.IllegalGeneration, kerr.InconsistentGroupProtocol, kerr.InvalidGroupID, kerr.UnknownMemberID,
			kerr.InvalidSessionTimeout, kerr.RebalanceInProgress, kerr.InvalidCommitOffsetSize, kerr.NonEmptyGroup,
			kerr.GroupIDNotFound, kerr.MemberIDRequired, kerr.GroupMaxSizeReached, kerr.FencedInstanceID,
			kerr.GroupSubscribedToTopic, kerr.UnstableOffsetCommit, kerr.FencedMemberEpoch, kerr.UnreleasedInstanceID,
			kerr.UnsupportedAssignor, kerr.StaleMemberEpoch, kerr.GroupDeletionFailed, kerr.InvalidTxnState,
			kerr.InvalidTransactionTimeout, kerr.ConcurrentTransactions, kerr.TransactionCoordinatorFenced,
			kerr.TransactionalIDNotFound, kerr.TransactionAbortable, kerr.InconsistentVoterSet, kerr.SnapshotNotFound,
			kerr.PositionOutOfRange, kerr.InvalidRegistration, kerr.InvalidVoterKey, kerr.DuplicateVoter, kerr.VoterNotFound,
			kerr.UnknownSubscriptionID, kerr.TelemetryTooLarge, kerr.InvalidRecordState, kerr.ShareSessionNotFound,
			kerr.InvalidShareSessionEpoch, kerr.FencedStateEpoch, kerr.ShareSessionLimitReached,
			kerr.StreamsInvalidTopology, kerr.StreamsInvalidTopologyEpoch, kerr.StreamsTopologyFenced,
			kerr.StreamsTopologyDescriptionUpdateFailed,
		},
		"Of groups, transactions and their coordinators, shares, streams and Raft. Where one answers us the hub is mistaken, or its coordinator is moving.",
		nothing,
	}
}

// writeErrors writes the reference of the table for operators.
func writeErrors(w io.Writer) error {
	var b strings.Builder
	b.WriteString(errorsHead)
	for _, class := range []struct {
		is    Class
		title string
	}{
		{ClassRetry, "Retry: it passes by itself"}, {ClassHold, "Hold: somebody must change something"}, {ClassDead, "Dead: it lies in the message"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| errors | whole hub | why | what to do |\n|---|---|---|---|\n", class.title)
		for _, row := range errorTable() {
			if row.class != class.is {
				continue
			}
			wide := "no"
			if row.wide {
				wide = "yes"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", errorNames(row.errs), wide, row.why, row.act)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func errorNames(errs []*kerr.Error) string {
	var names []string
	for _, e := range errs {
		names = append(names, fmt.Sprintf("`%s` (%d)", e.Message, e.Code))
	}
	return strings.Join(names, ", ")
}

const errorsHead = `# Errors of the hub

What the forwarder does about each error of the Kafka protocol. This page is made from the table in ` + "`internal/kafka/errortable.go`" + ` by ` + "`go generate ./internal/kafka`" + `.

Each error has a class:

- **retry**: it passes by itself. The client tries again without limit, and no timer drops anything. What should pass and has not after ` + "`forward.hold_after`" + `, while the hub answers, holds the topic, so that others do not wait for it.
- **hold**: it lasts until somebody changes something. The messages wait, ` + "`postroad status`" + ` says why and when the next try is, and other topics go on. Where the whole hub is concerned the breaker opens instead, and nothing is moved aside.
- **dead**: it lies in the message. What is refused is sent again alone, and only what is refused alone becomes a dead letter, with the reason.

An error that is not of the protocol (a connection, a name that does not resolve, a certificate) is retry: it says nothing about the message. A code that is not listed here is newer than this program and is hold, so that a person sees it and nothing is lost.
`
