// Loaded before each test file. For its coverage, which is off here, tap has every process below a test load hooks of its
// own: they double the time of a command and stand in the memory of each agent that is measured; and one that comes to
// write what it covered fails the whole run, since that is not all. So tap is told of none, and none of tap.
const hooks = globalThis[Symbol.for('process-on-spawn@*:singletonId')]
hooks?.listeners.splice(0)
delete process.env.NODE_OPTIONS
delete process.env.NODE_EXTRA_CA_CERTS // each process would read them as it starts: a tenth of a second
const own = process.execArgv.filter((arg) => !arg.includes('/@tapjs/') && !arg.includes('teardown-first'))
process.execArgv.splice(0, process.execArgv.length, ...own)
