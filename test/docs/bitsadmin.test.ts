/** docs/bitsadmin.md against the table of verbs, and that against the switches of the real one. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { renderBitsadmin } from '../../docs/generate.ts'
import { verbRows } from '../../src/cli/bitsadmin/verbs.ts'

/** As Microsoft's reference lists them. Pages without a verb of their own (`/cache` and the like) are among them. */
const SWITCHES = `
/addfile /addfileset /addfilewithranges
/cache /cache_delete /cache_deleteurl /cache_getexpirationtime /cache_getlimit /cache_help /cache_info /cache_list
/cache_setexpirationtime /cache_setlimit /cache_clear
/cancel /complete /create /examples
/getaclflags /getbytestotal /getbytestransferred /getclientcertificate /getcompletiontime /getcreationtime
/getcustomheaders /getdescription /getdisplayname /geterror /geterrorcount /getfilestotal /getfilestransferred
/gethelpertokenflags /gethelpertokensid /gethttpmethod /getmaxdownloadtime /getminretrydelay /getmodificationtime
/getnoprogresstimeout /getnotifycmdline /getnotifyflags /getnotifyinterface /getowner /getpeercachingflags /getpriority
/getproxybypasslist /getproxylist /getproxyusage /getreplydata /getreplyfilename /getreplyprogress /getsecurityflags
/getstate /gettemporaryname /gettype /getvalidationstate
/help /info /list /listfiles /makecustomheaderswriteonly /monitor /nowrap
/peercaching /peercaching_getconfigurationflags /peercaching_help /peercaching_setconfigurationflags
/peers /peers_clear /peers_discover /peers_help /peers_list
/rawreturn /removeclientcertificate /removecredentials /replaceremoteprefix /reset /resume
/setaclflag /setclientcertificatebyid /setclientcertificatebyname /setcredentials /setcustomheaders /setdescription
/setdisplayname /sethelpertoken /sethelpertokenflags /sethttpmethod /setmaxdownloadtime /setminretrydelay
/setnoprogresstimeout /setnotifycmdline /setnotifyflags /setpeercachingflags /setpriority /setproxysettings
/setreplyfilename /setsecurityflags /setvalidationstate
/suspend /takeownership /transfer
/util /util_enableanalyticchannel /util_getieproxy /util_help /util_repairservice /util_setieproxy /util_version /wrap
`

/** `/cache /list [/verbose]` is /cache_list, `/list [/allusers]` is /list. */
function pageOf(usage: string): string {
  const [, group, sub] = /^(\/(?:cache|peers|peercaching|util)) \/(\w+)/.exec(usage) ?? []
  return group === undefined ? (usage.split(' ')[0] ?? '') : `${group}_${sub}`
}

t.test('every switch of bitsadmin is in the table, and no other', async (t) => {
  const known = verbRows().map(([usage]) => pageOf(usage))
  t.same(known.sort(), SWITCHES.trim().split(/\s+/).sort())
  t.equal(known.length, 109)
})

t.test('docs/bitsadmin.md has a row for each, with what becomes of it and why', async (t) => {
  const text = readFileSync(fileURLToPath(new URL('../../docs/bitsadmin.md', import.meta.url)), 'utf8')
  t.equal(text, renderBitsadmin(), 'if it differs: npm run docs')
  const rows = text
    .split('\n')
    .filter((line) => line.startsWith('| `/'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('\\|', '|')),
    )
  t.same(
    rows,
    verbRows().map(([usage, status, note]) => [`\`${usage}\``, status, note]),
  )
  for (const [, status = '', note = ''] of rows) {
    t.ok(['honoured', 'mapped', 'refused'].includes(status))
    t.not(note, '')
  }
})
