/** Seeds that once found something, each with what it was: they are run for ever. A change of the worlds may dull them. */
export const FOUND: Readonly<Record<'transfer' | 'jobs', readonly (readonly [seed: number, what: string])[]>> = {
  transfer: [
    [2, 'a disk that failed while a part was read or cut ended a fetch with an error without a code'],
    [38, 'agents that refuse the word of members waited for each other for ever'],
    [46, 'the same, with ranges'],
    [51, 'the same, without any fault'],
    [53, 'the same, with two agents'],
    [37, 'a position that was here, but of a hash that nobody vouched for any more, was waited for without a pause'],
    [107, 'a position that was disputed, and that others had fetched, was asked of nobody'],
  ],
  jobs: [
    [9, 'the parts of a job that ended while its disk failed stayed until the agent was started again'],
    [35, 'a part that could not be looked at was left open'],
    [37, 'as 9, for a job that was completed'],
    [167, 'a part that was removed came back with a power cut, for ever'],
    [56, 'a completion whose end could not be recorded was not taken up, and nothing else was allowed'],
  ],
}
