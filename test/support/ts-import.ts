/** For a child that runs TypeScript: as tests are loaded themselves, with 0.7 CPU-s less than tsx for an agent. */
export const TS_IMPORT = `--import=${new URL('ts.mjs', import.meta.url).href}`
