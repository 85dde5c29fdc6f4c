/**
 * Makes the command of few files: Node.js reads, resolves and compiles each module by itself, which for the agent's 600
 * took longer than most fetches. What is loaded late stays apart, in chunks. The library (`dist/index.js`) is not bundled.
 *
 * Runs after tsc. Chunks stand beside package.json's `dist/`, where version.ts,
 * demo.ts and owner-process.ts look for what is beside them.
 */
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Metafile, type Plugin } from 'esbuild'
import { rollup } from 'rollup'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')
const ENTRIES = [
  { in: 'src/cli/main.ts', out: 'cli/main' },
  { in: 'src/cli/demo-agent.ts', out: 'demo-agent' },
  { in: 'src/jobs/owner-child.ts', out: 'owner-child' },
]
/** What a fetch through the daemon loads, and the most of it every short command: in one chunk. */
const CLIENT_ENTRIES = ['src/cli/run.ts', 'src/cli/fetch.ts']

/**
 * What src/ uses of undici, without its web API, which loads Node's own copy of undici too: more than half of the time that
 * undici took to load. Whoever uses more of it adds it here.
 */
const undiciDispatchers: Plugin = {
  name: 'undici-dispatchers',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'dispatchers' }))
    onLoad({ filter: /.*/, namespace: 'dispatchers' }, () => ({
      resolveDir: root,
      contents: `
        const Dispatcher = require('undici/lib/dispatcher/dispatcher')
        Object.assign(Dispatcher.prototype, require('undici/lib/api'))
        module.exports = {
          Dispatcher,
          Agent: require('undici/lib/dispatcher/agent'),
          Pool: require('undici/lib/dispatcher/pool'),
          ProxyAgent: require('undici/lib/dispatcher/proxy-agent'),
          buildConnector: require('undici/lib/core/connect'),
          errors: require('undici/lib/core/errors'),
        }`,
    }))
  },
}

// What tsc made of the command is not used by anybody, and chunks of an earlier bundle neither.
for (const name of await readdir(dist)) {
  if (name === 'cli' || /-[A-Z0-9]{8}\.js$/.test(name)) await rm(join(dist, name), { recursive: true })
}
const parts = await mkdtemp(join(tmpdir(), 'shorthaul-bundle-'))
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ENTRIES,
  outdir: parts,
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  plugins: [undiciDispatchers],
  // They load a binary from where they are.
  external: ['sodium-native', 'udx-native', 'classic-level'],
  // Names stay: stacks are read by people.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none', // all of them are in the file below
  metafile: true,
  logLevel: 'warning',
  banner: {
    js: "import{createRequire as _createRequire}from'node:module';const require=_createRequire(import.meta.url);",
  },
})
try {
  await joinClient(metafile)
} finally {
  await rm(parts, { recursive: true })
}

/** esbuild makes a chunk of whatever any two entries have in common: dozens, and a command waits for each. */
async function joinClient({ outputs }: Metafile): Promise<void> {
  const client = new Set<string>()
  const add = (path: string) => {
    if (client.has(path)) return
    client.add(path)
    for (const { path: imported, kind, external } of outputs[path]?.imports ?? []) {
      if (kind === 'import-statement' && external !== true) add(imported)
    }
  }
  for (const [path, { entryPoint }] of Object.entries(outputs)) {
    if (entryPoint !== undefined && CLIENT_ENTRIES.includes(entryPoint)) add(path)
  }
  if (client.size < CLIENT_ENTRIES.length) throw new Error(`no ${CLIENT_ENTRIES.join(' and ')} in the bundle`)
  const clientFiles = new Set([...client].map((path) => resolve(root, path)))
  const joined = await rollup({
    input: Object.fromEntries(ENTRIES.map(({ out }) => [out, join(parts, `${out}.js`)])),
    external: (id) => !id.startsWith('.') && !isAbsolute(id),
    treeshake: false, // done
    onLog: (level, { message }) => {
      if (level === 'warn') throw new Error(message)
    },
  })
  await joined.write({
    dir: dist,
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js', // esbuild's have their hash
    manualChunks: (id) => (clientFiles.has(id) ? 'client' : undefined),
    hoistTransitiveImports: false,
    minifyInternalExports: false,
  })
  await joined.close()
}

// A global install of a checkout links to it, and builds after it has made what it links to executable.
await chmod(join(dist, 'cli', 'main.js'), 0o755)
await writeFile(join(dist, 'THIRD-PARTY.txt'), await notices(packagesOf(metafile)))

/** Folders of the packages that are in the bundle. */
function packagesOf({ inputs }: Metafile): readonly string[] {
  const folders = new Set<string>()
  for (const path of Object.keys(inputs)) {
    const found = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]
    if (found !== undefined) folders.add(found)
  }
  return [...folders].sort()
}

/** What the licences of bundled packages ask for: their text goes along. */
async function notices(folders: readonly string[]): Promise<string> {
  const parts: string[] = []
  for (const folder of folders) {
    const path = join(root, folder)
    const manifest = JSON.parse(await readFile(join(path, 'package.json'), 'utf8')) as Record<string, unknown>
    const names = (await readdir(path)).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name))
    const texts = await Promise.all(names.map((name) => readFile(join(path, name), 'utf8')))
    parts.push(
      [`${manifest.name} ${manifest.version} (${manifest.license})`, ...texts.map((text) => text.trim())].join('\n\n'),
    )
  }
  return `The command contains these packages.\n\n${parts.join('\n\n---\n\n')}\n`
}
