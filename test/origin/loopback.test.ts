import t from 'tap'
import { isLoopback } from '../../src/origin/loopback.ts'

void t.test('this machine is known by its names and addresses', async (t) => {
  const isHere = (url: string) => isLoopback(new URL(url).hostname)
  for (const url of [
    'http://localhost/',
    'http://LOCALHOST:8080/',
    'http://a.localhost/',
    'http://127.0.0.1/',
    'http://127.8.9.1:1/',
    'http://0x7f000001/',
    'http://[::1]/',
    'http://[0:0::1]/',
  ]) {
    t.ok(isHere(url), url)
  }
  for (const url of [
    'http://localhost.example/',
    'http://127.example/',
    'http://128.0.0.1/',
    'http://10.0.0.1/',
    'http://[::2]/',
    'http://127.0.0.1.example/',
  ]) {
    t.notOk(isHere(url), url)
  }
})
