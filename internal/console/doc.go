// Package console is the operators' page at /console/: send a message through
// the front door or straight to a stamp, see the answers, and watch messages
// arrive in the hub.
//
// The page talks to the console alone, which asks the endpoints in its stead,
// so one forwarded port is enough and no endpoint needs CORS. Only configured
// endpoints can be asked, and only from the page's own origin. What messages
// contain is hostile: it reaches the page as JSON, which sets nothing but text,
// under a policy that runs no other script.
//
// It guarantees that watching never holds anything up and that its memory is
// bounded: a viewer that falls behind is told how many messages it was not
// shown. It is a view, not a record; it asks for no credentials and belongs
// where only operators reach it.
package console
