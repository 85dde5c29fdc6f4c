// Loaded before each test file, in the place of tsx: TypeScript is compiled once for all of them, and modules are read
// past tap's coverage hooks, which are of no use here. Half a second of a core less for each file.
import { register } from 'node:module'

register('./ts-hooks.mjs', import.meta.url)
process.setSourceMapsEnabled(true)
