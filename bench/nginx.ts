/** nginx on a lab host: a neighbour that serves a folder over HTTPS, or the cache that a branch would set up centrally. */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Lab } from '../test/lab/lab.ts'
import type { LabProcess } from '../test/lab/lab-process.ts'

const CACHE_PORT = 8080

export interface Nginx {
  readonly url: string
  readonly process: LabProcess
}

/** The master and its workers. */
export async function nginxPids({ process: process_ }: Nginx): Promise<readonly number[]> {
  const { pid } = process_
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return [pid, ...children.trim().split(' ').filter(Boolean).map(Number)]
}

/** Serves `folder` with TLS and the same cipher as the lane. */
export async function startFileServer(lab: Lab, host: number, folder: string): Promise<Nginx> {
  const dir = join(lab.stateDir, 'nginx')
  await mkdir(dir)
  const [key, certificate] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const files = ['-keyout', key, '-out', certificate]
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, ...files, '-subj', '/CN=lab', '-days', '2'])
  const http = `sendfile on;
      server { listen 0.0.0.0:443 ssl; ssl_certificate ${certificate}; ssl_certificate_key ${key};
        ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; root ${folder}; }`
  return start(lab, host, { dir, http, url: `https://${lab.hostAddress(host)}` })
}

/**
 * A cache of slices of 1 MiB before the lab's origin, each fetched once however many wait for it. Without the long lock
 * times nginx would let waiting requests through to the origin after 5 s, which is not what somebody who knows it sets up.
 */
export async function startSliceCache(lab: Lab, host: number): Promise<Nginx> {
  const dir = join(lab.stateDir, 'nginx-cache')
  await mkdir(dir)
  const http = `proxy_cache_path ${dir}/cache levels=1:2 keys_zone=slices:16m max_size=64g inactive=1d use_temp_path=off;
      upstream origin { server ${lab.originAddress}:80; keepalive 64; }
      server { listen 0.0.0.0:${CACHE_PORT};
        location / {
          slice 1m; proxy_cache slices; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1d;
          proxy_cache_lock on; proxy_cache_lock_age 10m; proxy_cache_lock_timeout 10m;
          proxy_set_header Range $slice_range; proxy_set_header Connection ""; proxy_http_version 1.1;
          proxy_pass http://origin; } }`
  return start(lab, host, { dir, http, url: `http://${lab.hostAddress(host)}:${CACHE_PORT}` })
}

async function start(lab: Lab, host: number, options: { dir: string; http: string; url: string }): Promise<Nginx> {
  const { dir, http, url } = options
  const config = `daemon off; user root; pid ${dir}/pid; error_log stderr error; worker_processes 2; events {}
    http { access_log off; client_body_temp_path ${dir}/t1; proxy_temp_path ${dir}/t2;
      fastcgi_temp_path ${dir}/t3; uwsgi_temp_path ${dir}/t4; scgi_temp_path ${dir}/t5;
      ${http} }`
  await writeFile(join(dir, 'nginx.conf'), config)
  const process_ = lab.spawn(host, 'nginx', ['-c', join(dir, 'nginx.conf'), '-p', dir])
  const probe = ['-sk', '--retry', '20', '--retry-connrefused', '--retry-delay', '1', '-o', '/dev/null', url]
  const { code } = await lab.exec(host, 'curl', probe)
  if (code !== 0) throw new Error(`nginx does not answer: ${process_.stderr.slice(-2000)}`)
  return { url, process: process_ }
}
