package wire

// The paths of a gateway's relay interface.
const (
	PathHello    = "/v1/relay"
	PathMessages = "/v1/relay/messages"
	PathPlaces   = "/v1/relay/places"
)

// The header fields of a batch: which process of the receiving stamp it is meant
// for, the newest tick of it that the sender knows, and which of the sender's
// sessions with the process this is.
const (
	FieldProcess = "Postroad-Relay-Process"
	FieldTick    = "Postroad-Relay-Tick"
	FieldSession = "Postroad-Relay-Session"
)

// Hello is what a gateway says of itself: the answer to GET /v1/relay, and part of
// every other.
type Hello struct {
	// Stamp is its name, Process the run of it that answers.
	Stamp   string `json:"stamp"`
	Process string `json:"process"`
	// Tick is the process's own clock, in milliseconds since it began.
	Tick int64 `json:"tick"`
	// Time is the wall clock, in microseconds since 1970.
	Time int64 `json:"time"`
	// Lease is for how long a tick is good, in milliseconds.
	Lease int64 `json:"lease,omitempty"`
	// MaxMessageBytes, MaxBatchBytes and MaxBatchMessages are its limits.
	MaxMessageBytes  int `json:"max_message_bytes,omitempty"`
	MaxBatchBytes    int `json:"max_batch_bytes,omitempty"`
	MaxBatchMessages int `json:"max_batch_messages,omitempty"`
}

// Answer is the answer to a batch.
type Answer struct {
	Hello
	// Stored is how many messages of the batch, from the first on, are durable.
	Stored int `json:"stored"`
	// Known is how many of those had been stored before.
	Known int `json:"known"`
	// Refused says what is the matter with the message behind those; absent
	// where all are stored.
	Refused *Refusal `json:"refused,omitempty"`
}

// Refusal is why a message is not taken. Those behind it were not looked at.
type Refusal struct {
	// Class is "hold" where somebody can change that, "dead" where it lies in the
	// message.
	Class string `json:"class"`
	// Reason is for people.
	Reason string `json:"reason"`
}

// Question asks which messages of the sender are stored: of each topic those
// since a time of the receiver's, in microseconds.
type Question struct {
	Topics map[string]int64 `json:"topics"`
}

// PlacesLine is a line of the answer: runs of seqs, first and last, of a lane of
// the sender's. The last line has Done set.
type PlacesLine struct {
	Topic string      `json:"topic,omitempty"`
	Lane  string      `json:"lane,omitempty"`
	Runs  [][2]uint64 `json:"runs,omitempty"`
	Done  *PlacesDone `json:"done,omitempty"`
}

// PlacesDone ends the answer.
type PlacesDone struct {
	Hello
	// From has, for each topic of which not all that was asked for is known any
	// more, the time from which on it is.
	From map[string]int64 `json:"from,omitempty"`
}
