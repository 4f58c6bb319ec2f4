package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Class says what is to be done about an error of the hub.
type Class string

// The classes. An operator reads them in logs and in the status.
const (
	// ClassRetry passes by itself: send again, soon.
	ClassRetry Class = "retry"
	// ClassHold lasts until somebody changes something: wait, say why, and
	// try now and then.
	ClassHold Class = "hold"
	// ClassDead lies in the record: it will never be taken as it is.
	ClassDead Class = "dead"
)

// Error is an error of the hub with its class.
type Error struct {
	class Class
	err   error
}

// Error implements error.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives the hub's or the client's error.
func (e *Error) Unwrap() error { return e.err }

// Class returns "retry", "hold" or "dead". Packages that must not know this
// one find it with errors.As for interface{ Class() string }.
func (e *Error) Class() string { return string(e.class) }

// HubWide reports whether the hub refuses everything we could send, and not only
// what concerns one topic: an account, a credential, a protocol.
func (e *Error) HubWide() bool {
	var ke *kerr.Error
	if !errors.As(e.err, &ke) {
		return false
	}
	for _, wide := range hubWide() {
		if wide.Code == ke.Code {
			return true
		}
	}
	return false
}

// hubWide are the errors of class hold that lie in who we are or how we speak. No
// topic is better off than another then, so none is moved aside because of them.
func hubWide() []*kerr.Error {
	return []*kerr.Error{
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed,
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled,
		kerr.DelegationTokenAuthDisabled, kerr.DelegationTokenNotFound, kerr.DelegationTokenOwnerMismatch,
		kerr.DelegationTokenRequestNotAllowed, kerr.DelegationTokenExpired, kerr.UnacceptableCredential,
		kerr.InvalidPrincipalType, kerr.PrincipalDeserializationFailure, kerr.UnsupportedVersion, kerr.InvalidRequiredAcks,
		kerr.MismatchedEndpointType, kerr.UnsupportedEndpointType, kerr.InconsistentClusterID,
	}
}

// classified wraps err, naming the act, with its class; nil stays nil.
func classified(act string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{class: Classify(err), err: fmt.Errorf("%s: %w", act, err)}
}

// Classify returns the class of an error of the hub.
//
// An error that is not of the Kafka protocol comes from the network, from a
// context that ended, or from the client having been closed, and says nothing
// about the record: retry. A protocol code that the table does not know is
// newer than this program: hold, so that a person sees it and nothing is lost.
func Classify(err error) Class {
	var own *Error
	if errors.As(err, &own) {
		return own.class
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return ClassRetry
	}
	for _, row := range classTable() {
		for _, e := range row.errs {
			if e.Code == ke.Code {
				return row.class
			}
		}
	}
	return ClassHold
}

type classRow struct {
	class Class
	errs  []*kerr.Error
}

// classTable holds every code of the protocol that franz-go knows. Most can
// never answer a request of ours; they have a class all the same, so that a
// hub's mistake does not end in a wrong one.
func classTable() []classRow {
	return []classRow{
		// The record itself. Too large is judged by the hub's limit for the
		// topic, which a person may raise; but the gateway refuses at a limit
		// below every hub's, so a record that gets here and is too large alone
		// would block its topic for ever. Invalid records and timestamps, and
		// data that the topic's format cannot hold (a missing key in a
		// compacted topic is INVALID_RECORD), do not get better with time.
		{ClassDead, []*kerr.Error{
			kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp,
			kerr.UnsupportedForMessageFormat, kerr.InvalidTopicException,
		}},
		// Who we are and what we may do: an account, a permission, a policy.
		// Also the tier or connection string of Event Hubs, which it reports as
		// a topic authorization failure.
		{ClassHold, []*kerr.Error{
			kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
			kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed,
			kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled,
			kerr.DelegationTokenAuthDisabled, kerr.DelegationTokenNotFound, kerr.DelegationTokenOwnerMismatch,
			kerr.DelegationTokenRequestNotAllowed, kerr.DelegationTokenExpired, kerr.UnacceptableCredential,
			kerr.InvalidPrincipalType, kerr.PrincipalDeserializationFailure, kerr.PolicyViolation,
		}},
		// A topic that is not there, or cannot be made as configured. franz-go
		// calls the unknown ones retriable, because a new topic takes a moment
		// to be known everywhere; it rides that moment out before we see them.
		{ClassHold, []*kerr.Error{
			kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.TopicDeletionDisabled,
			kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidReplicaAssignment, kerr.InvalidConfig,
			kerr.ResourceNotFound, kerr.DuplicateResource,
		}},
		// Broker and client do not fit together: a version, a setting, a codec.
		// A person changes one of them.
		{ClassHold, []*kerr.Error{
			kerr.UnsupportedVersion, kerr.UnsupportedCompressionType, kerr.InvalidRequest, kerr.InvalidRequiredAcks,
			kerr.InvalidFetchSize, kerr.MismatchedEndpointType, kerr.UnsupportedEndpointType, kerr.InconsistentClusterID,
			kerr.LogDirNotFound, kerr.OffsetMovedToTieredStorage, kerr.InvalidUpdateVersion, kerr.FeatureUpdateFailed,
			kerr.InvalidRegularExpression,
		}},
		// The cluster is moving: elections, restarts, replicas that catch up,
		// full disks, throttling. It mends itself or is mended, and what was
		// refused is taken then. TOPIC_ALREADY_EXISTS is another stamp that was
		// faster. UNKNOWN_SERVER_ERROR says nothing, and has been seen of
		// brokers on their way down. CORRUPT_MESSAGE is a batch damaged on its
		// way: ours are not, so it is sent again.
		{ClassRetry, []*kerr.Error{
			kerr.UnknownServerError, kerr.CorruptMessage, kerr.LeaderNotAvailable, kerr.NotLeaderForPartition,
			kerr.RequestTimedOut, kerr.BrokerNotAvailable, kerr.ReplicaNotAvailable, kerr.StaleControllerEpoch,
			kerr.NetworkException, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.NotController,
			kerr.KafkaStorageError, kerr.ListenerNotFound, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
			kerr.StaleBrokerEpoch, kerr.OffsetNotAvailable, kerr.PreferredLeaderNotAvailable,
			kerr.EligibleLeadersNotAvailable, kerr.ElectionNotNeeded, kerr.NewLeaderElected, kerr.IneligibleReplica,
			kerr.ReassignmentInProgress, kerr.NoReassignmentInProgress, kerr.OperationNotAttempted,
			kerr.ThrottlingQuotaExceeded, kerr.TopicAlreadyExists, kerr.UnknownControllerID, kerr.RebootstrapRequired,
			kerr.OffsetOutOfRange, kerr.FetchSessionIDNotFound, kerr.InvalidFetchSessionEpoch,
			kerr.FetchSessionTopicIDError, kerr.BrokerIDNotRegistered, kerr.DuplicateBrokerRegistration,
			kerr.ControllerIDNotRegistered,
		}},
		// The idempotent producer has lost its place. franz-go begins a new
		// epoch; what comes out here is sent again, and readers drop a copy.
		{ClassRetry, []*kerr.Error{
			kerr.OutOfOrderSequenceNumber, kerr.DuplicateSequenceNumber, kerr.InvalidProducerEpoch, kerr.UnknownProducerID,
			kerr.InvalidProducerIDMapping, kerr.ProducerFenced,
		}},
		// Groups, transactions, shares, streams, Raft: we use none of them. A
		// broker that answers with one is mistaken, perhaps for a moment.
		{ClassRetry, []*kerr.Error{
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
		}},
	}
}
