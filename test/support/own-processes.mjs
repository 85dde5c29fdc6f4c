// Loaded before each test file. For its coverage, which is off here, tap has every process below a test load hooks of its
// own: they double the time of a command and stand in the memory of each agent that is measured. So it is told of none.
const hooks = globalThis[Symbol.for('process-on-spawn@*:singletonId')]
hooks?.listeners.splice(0)
delete process.env.NODE_OPTIONS
