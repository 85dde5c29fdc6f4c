/** What `bitsadmin` can do and we do not: refused with the reason, so that no script goes on believing that it was done. */
import type { RefusedVerb } from './verb.ts'

function refused(name: string, parameters: string, help: string): RefusedVerb {
  return { name, parameters, help, status: 'refused' }
}

const CACHE = 'the cache keeps itself within its limits; see `shorthaul cache --help`'
const CERTIFICATE = 'certificates are the agent’s: origin.clientCert in its configuration'
const HELPER_TOKEN = 'there are no helper tokens: a job runs as its owner'
const UPLOAD = 'uploads are not done'
const ACL = 'access lists are not copied'
const CHECKED = 'all content is verified by the agent; pin it with sha256 (`shorthaul fetch --sha256`)'

export const REFUSED_VERBS: readonly RefusedVerb[] = [
  refused('/getvalidationstate', 'JOB INDEX', CHECKED),
  refused('/setvalidationstate', 'JOB INDEX TRUE|FALSE', CHECKED),
  refused('/getaclflags', 'JOB', ACL),
  refused('/setaclflag', 'JOB FLAGS', ACL),
  refused('/getsecurityflags', 'JOB', 'how TLS is checked is the agent’s: origin.* in its configuration'),
  refused('/setsecurityflags', 'JOB FLAGS', 'certificates are always checked; a private CA goes into origin.caFile'),
  refused('/gethttpmethod', 'JOB', 'it is always GET'),
  refused('/sethttpmethod', 'JOB METHOD', 'it is always GET'),
  refused('/gethelpertokenflags', 'JOB', HELPER_TOKEN),
  refused('/sethelpertokenflags', 'JOB FLAGS', HELPER_TOKEN),
  refused('/gethelpertokensid', 'JOB', HELPER_TOKEN),
  refused('/sethelpertoken', 'JOB', HELPER_TOKEN),
  refused('/getnotifyinterface', 'JOB', 'there is no COM: a command (/setnotifycmdline) or a webhook is told'),
  refused('/getclientcertificate', 'JOB', CERTIFICATE),
  refused('/setclientcertificatebyid', 'JOB STORE NAME HASH', CERTIFICATE),
  refused('/setclientcertificatebyname', 'JOB STORE NAME SUBJECT', CERTIFICATE),
  refused('/removeclientcertificate', 'JOB', CERTIFICATE),
  refused('/getreplyfilename', 'JOB', UPLOAD),
  refused('/setreplyfilename', 'JOB PATH', UPLOAD),
  refused('/getreplyprogress', 'JOB', UPLOAD),
  refused('/getreplydata', 'JOB', UPLOAD),
  refused('/cache', '', '`shorthaul cache`'),
  refused('/cache /list', '[/verbose]', '`shorthaul cache ls`'),
  refused('/cache /info', 'RECORD', '`shorthaul cache ls`'),
  refused('/cache /delete', 'RECORD', '`shorthaul cache rm URL`'),
  refused('/cache /deleteurl', 'URL', '`shorthaul cache rm URL`'),
  refused('/cache /clear', '', CACHE),
  refused('/cache /getlimit', '', '`shorthaul cache stat`'),
  refused('/cache /setlimit', 'PERCENT', 'cache.maxBytes in the configuration'),
  refused('/cache /getexpirationtime', '', CACHE),
  refused('/cache /setexpirationtime', 'SECONDS', CACHE),
  refused('/cache /help', '', '`shorthaul cache --help`'),
  refused('/peers', '', '`shorthaul peers`'),
  refused('/peers /list', '', '`shorthaul peers`'),
  refused('/peers /discover', '', 'they are looked for all the time; `shorthaul peers` lists them'),
  refused('/peers /clear', '', 'those that do not answer are forgotten by themselves'),
  refused('/peers /help', '', '`shorthaul peers --help`'),
  refused('/peercaching', '', 'serve.* and cache.* in the configuration'),
  refused('/peercaching /getconfigurationflags', '', '`shorthaul config show`'),
  refused('/peercaching /setconfigurationflags', 'FLAGS', 'serve.* and cache.* in the configuration'),
  refused('/peercaching /help', '', '`shorthaul config show`'),
  refused('/util', '', '/util /version is there'),
  refused('/util /getieproxy', 'ACCOUNT', '`shorthaul config show`: a proxy stands in the environment of the agent'),
  refused('/util /setieproxy', 'ACCOUNT USAGE', 'a proxy stands in the environment of the agent'),
  refused('/util /repairservice', '[/force]', '`shorthaul doctor` and `shorthaul cache verify`'),
  refused('/util /enableanalyticchannel', 'TRUE|FALSE', 'log.level in the configuration'),
]
