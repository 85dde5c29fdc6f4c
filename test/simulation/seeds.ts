/** Seeds that once found something, each with what it was: they are run for ever. A change of the worlds may dull them. */
export const FOUND: Readonly<Record<'transfer' | 'jobs', readonly (readonly [seed: number, what: string])[]>> = {
  transfer: [
    [2, 'a disk that failed while a part was read or cut ended a fetch with an error without a code'],
    [38, 'agents that refuse the word of members waited for each other for ever'],
    [46, 'the same, with ranges'],
    [51, 'the same, without any fault'],
    [53, 'the same, with two agents'],
  ],
  jobs: [],
}
