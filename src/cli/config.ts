/** `shorthaul config`: the configuration that would be used, and whether a file is valid. */
import { FLAT_KEYS } from '../config/flat-keys.ts'
import type { LoadedConfig } from '../config/load.ts'
import { isShorthaulError } from '../errors.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput } from './output.ts'

export interface ShowOptions extends GlobalOptions {
  readonly origin?: boolean
}

export async function showVerb(options: ShowOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const loaded = await loadCliConfig(options)
  const { config, provenance, file } = loaded
  output.json({ event: 'config', file, config, provenance })
  output.text(formatConfig(loaded, { hasProvenance: options.origin === true }))
}

/** YAML that reads back to the same configuration. */
export function formatConfig(loaded: LoadedConfig, options: { readonly hasProvenance: boolean }): string {
  const { config, provenance, file } = loaded
  const lines: { readonly text: string; readonly comment: string | null }[] = []
  let openSection: string | null = null
  for (const { path, section, name, key } of FLAT_KEYS) {
    if (section !== openSection && section !== null) lines.push({ text: `${section}:`, comment: null })
    openSection = section
    const value = section === null ? Object(config)[name] : Object(config)[section][name]
    lines.push({
      text: `${section === null ? '' : '  '}${name}: ${key.print(value)}`,
      comment: provenance[path] ?? null,
    })
  }
  const head = `# ${file === null ? 'no configuration file' : `file: ${file}`}`
  const width = Math.max(...lines.map(({ text, comment }) => (comment === null ? 0 : text.length)))
  const shown = lines.map(({ text, comment }) =>
    options.hasProvenance && comment !== null ? `${text.padEnd(width)}  # ${comment}` : text,
  )
  return [head, ...shown].join('\n')
}

export async function checkVerb(file: string | undefined, options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  try {
    const loaded = await loadCliConfig(file === undefined ? options : { ...options, config: file })
    output.json({ event: 'config-check', file: loaded.file, ok: true })
    output.text(`OK: ${loaded.file ?? 'no configuration file, the defaults are used'}`)
  } catch (error) {
    const problems = isShorthaulError(error, 'SHORTHAUL_CONFIG_INVALID') ? error.details.problems : null
    // The error that ends the command has them all in one text; for programs, each on a line before it.
    if (Array.isArray(problems)) for (const problem of problems) output.json({ event: 'problem', problem })
    throw error
  }
}
