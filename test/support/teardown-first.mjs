// Loaded before each test file. tap removes a test's folder before what the test left to its end when the folder was
// asked for first, so that a store or a book still wrote into it: now and then into one that was being removed, which
// fails the test. What comes first is done first, so each test leaves nothing to its end before anything else.
import t from 'tap'

t.beforeEach((t) => t.teardown(() => {}))
