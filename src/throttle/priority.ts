/** How urgent work is, as in BITS. `foreground` is not governed; of the three others the most urgent runs alone. */
export const PRIORITIES = ['foreground', 'high', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

/** Those that the governor holds back, most urgent first. */
export const GOVERNED = ['high', 'normal', 'low'] as const
export type GovernedPriority = (typeof GOVERNED)[number]
