/** How busy the machine was: where the processor is the limit, links were not measured. */
export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
}

/** Of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. */
export function parseCpuTimes(stat: string): CpuTimes {
  const [, ...fields] = (stat.split('\n')[0] ?? '').trim().split(/\s+/);
  const times = fields.slice(0, 8).map(Number);
  const total = times.reduce((sum, time) => sum + time, 0);
  const idle = (times[3] ?? 0) + (times[4] ?? 0);
  return { busy: total - idle, total };
}

export function cpuBusyShare(before: CpuTimes, after: CpuTimes): number {
  return after.total === before.total
    ? 0
    : (after.busy - before.busy) / (after.total - before.total);
}
