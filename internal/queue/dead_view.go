package queue

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"postroad/internal/message"
)

// LetterView is a dead letter without its value, as the tools and the admin API
// show it. Places are LANE.SEQ, as ParseLetters takes them.
type LetterView struct {
	ID     string `json:"id"`
	Place  string `json:"place"`
	Stands string `json:"stands"`
	// State is LetterOpen, LetterReleased or LetterDiscarded.
	State string `json:"state"`
	Topic string `json:"topic"`
	// Key is nil for a message without a key, and for one whose key is no
	// UTF-8: that is in KeyBase64.
	Key       *string   `json:"key"`
	KeyBase64 *string   `json:"key_base64,omitempty"`
	Bytes     int       `json:"bytes"`
	Reason    string    `json:"reason"`
	Buried    time.Time `json:"buried"`
}

// View is the letter as it is shown.
func (l *Letter) View() LetterView {
	place := func(p message.Place) string { return p.Lane + "." + strconv.FormatUint(p.Seq, 10) }
	v := LetterView{
		ID: l.ID.String(), Place: place(l.Place), Stands: place(l.Stands()), State: l.State,
		Topic: l.Topic, Bytes: l.Size(), Reason: l.Reason, Buried: l.Buried,
	}
	if key := string(l.Key); l.Key != nil && utf8.ValidString(key) {
		v.Key = &key
	} else if l.Key != nil {
		key = base64.StdEncoding.EncodeToString(l.Key)
		v.KeyBase64 = &key
	}
	return v
}
