package kafkatest

import "testing"

// Java returns the java command and the class path of Kafka's jars, its clients
// among them, for tests that ask Kafka's own code. Where they are missing the
// test is skipped, and fails where CI=true.
func Java(t testing.TB) (java, classPath string) {
	t.Helper()
	return ClassPath(t, pom)
}

// ClassPath returns the java command and the class path of the jars that a
// pom.xml asks for, which Maven fetches. Where they are missing the test is
// skipped, and fails where CI=true.
func ClassPath(t testing.TB, pom []byte) (java, classPath string) {
	t.Helper()
	found, err := findToolsOf(t.Context(), pom)
	giveUp(t, err)
	return found.java, found.classPath
}
