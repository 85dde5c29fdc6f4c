/**
 * Makes the command of few files: Node.js reads, resolves and compiles each module by itself, which for the agent's 600
 * took longer than most fetches. What is loaded late stays apart, in chunks. The library (`dist/index.js`) is not bundled.
 *
 * Runs after tsc. Chunks stand beside package.json's `dist/`, where version.ts,
 * demo.ts and owner-process.ts look for what is beside them.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Metafile } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))

// What tsc made of the command is not used by anybody.
await rm(join(root, 'dist', 'cli'), { recursive: true, force: true })
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: [
    { in: 'src/cli/main.ts', out: 'cli/main' },
    { in: 'src/cli/demo-agent.ts', out: 'demo-agent' },
    { in: 'src/jobs/owner-child.ts', out: 'owner-child' },
  ],
  outdir: 'dist',
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
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

await writeFile(join(root, 'dist', 'THIRD-PARTY.txt'), await notices(packagesOf(metafile)))

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
