/**
 * The tests of pure code, in one process: to start one for each file takes longer than they do. Each also runs alone;
 * .taprc leaves the folders to this file.
 */
import { readdirSync } from 'node:fs'

const FOLDERS = ['config', 'content', 'metrics', 'publish', 'swarm', 'throttle']

for (const folder of FOLDERS) {
  const names = readdirSync(new URL(`./${folder}/`, import.meta.url)).filter((name) => name.endsWith('.test.ts'))
  for (const name of names.sort()) await import(`./${folder}/${name}`)
}
