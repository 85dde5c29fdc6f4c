/**
 * A disk that can lose its power: a directory, and what is durable of it according to the syncs of the process that writes
 * there (power-loss.c says what that means). What is not durable goes with `cut`.
 */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Why there can be no such disk here; null: there can. */
export function powerLossProblem(): string | null {
  if (process.platform !== 'linux') return 'needs Linux'
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' })
    return null
  } catch {
    return 'needs a C compiler'
  }
}

export class PowerLossDisk {
  readonly root: string
  readonly #shadow: string
  readonly #library: string
  #cutCount = 0

  private constructor(dir: string) {
    this.root = join(dir, 'disk')
    this.#shadow = join(dir, 'shadow')
    this.#library = join(dir, 'power-loss.so')
  }

  /** In `dir/disk`, which may be there; all that is in it is durable. */
  static open(dir: string): PowerLossDisk {
    const disk = new PowerLossDisk(dir)
    const source = fileURLToPath(new URL('./power-loss.c', import.meta.url))
    execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', disk.#library, source, '-ldl'], { stdio: 'pipe' })
    mkdirSync(disk.root, { recursive: true })
    disk.#settle()
    return disk
  }

  /** For the process that writes to the disk; its syncs must be seen, so none goes through io_uring. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: this.#library,
      POWERLOSS_ROOT: this.root,
      POWERLOSS_SHADOW: this.#shadow,
      UV_USE_IO_URING: '0',
    }
  }

  /** The power is gone: no process writes any more, and only what is durable is there. */
  cut(): void {
    const lost = `${this.root}.lost-${++this.#cutCount}`
    renameSync(this.root, lost)
    for (const directory of directoriesOf(lost)) {
      const path = relative(lost, directory)
      mkdirSync(join(this.root, path), { recursive: true })
      for (const [key, name] of this.#names(path)) {
        const target = join(this.root, path, name)
        const content = join(this.#shadow, 'files', key)
        if (statSync(content, { throwIfNoEntry: false })) copyFileSync(content, target)
        else writeFileSync(target, '')
      }
    }
    rmSync(lost, { recursive: true })
    this.#settle()
  }

  #names(path: string): (readonly [key: string, name: string])[] {
    const file = join(this.#shadow, 'names', nameOf(path))
    if (!statSync(file, { throwIfNoEntry: false })) return []
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
    return lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const)
  }

  /** All that is there is durable. */
  #settle(): void {
    rmSync(this.#shadow, { recursive: true, force: true })
    for (const name of ['files', 'names']) mkdirSync(join(this.#shadow, name), { recursive: true })
    for (const directory of directoriesOf(this.root)) {
      let names = ''
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        if (!entry.isFile()) continue
        const path = join(directory, entry.name)
        const { ino, birthtimeNs } = statSync(path, { bigint: true })
        copyFileSync(path, join(this.#shadow, 'files', `${ino}-${birthtimeNs}`))
        names += `${ino}-${birthtimeNs} ${entry.name}\n`
      }
      writeFileSync(join(this.#shadow, 'names', nameOf(relative(this.root, directory))), names)
    }
  }
}

/** As power-loss.c writes it. */
function nameOf(path: string): string {
  return `!${path.replaceAll('/', '!')}`
}

function directoriesOf(root: string): string[] {
  const found = [root]
  for (const directory of found) {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) found.push(join(directory, entry.name))
    }
  }
  return found
}
