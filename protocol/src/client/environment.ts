/** Wrong settings, all of them, each with its name and a remedy. */
export class ConfigurationError extends Error {
  readonly code = 'InvalidConfiguration';

  constructor(problems: readonly string[]) {
    super(`the configuration is not usable:\n${problems.map((each) => `- ${each}`).join('\n')}`);
    this.name = 'ConfigurationError';
  }
}

/** Reads settings of a process from its environment and collects what is wrong with them. */
export class Environment {
  readonly #values: Readonly<Record<string, string | undefined>>;
  readonly #problems: string[] = [];

  constructor(values: Readonly<Record<string, string | undefined>>) {
    this.#values = values;
  }

  text(name: string, byDefault?: string): string {
    const value = this.#values[name] ?? '';
    if (value !== '') return value;
    if (byDefault === undefined) this.#problems.push(`${name} is missing: set it`);
    return byDefault ?? '';
  }

  httpsUrl(name: string): URL {
    const text = this.text(name);
    const url = URL.parse(text);
    if (url?.protocol === 'https:') return url;
    if (text !== '') this.#problems.push(`${name} is "${text}": set an https:// URL`);
    return new URL('https://invalid.invalid');
  }

  integer(name: string, byDefault: number, bounds: { min: number; max: number }): number {
    const text = this.text(name, String(byDefault));
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= bounds.min && value <= bounds.max) return value;
    this.#problems.push(
      `${name} is "${text}": set a whole number from ${bounds.min} to ${bounds.max}`,
    );
    return byDefault;
  }

  port(name: string, byDefault: number): number {
    return this.integer(name, byDefault, { min: 1, max: 65_535 });
  }

  /** Undefined: 0 or nothing is set. */
  portOrOff(name: string): number | undefined {
    return this.integer(name, 0, { min: 0, max: 65_535 }) || undefined;
  }

  oneOf<T extends string>(name: string, byDefault: T, allowed: readonly T[]): T {
    const text = this.text(name, byDefault);
    const value = allowed.find((each) => each === text);
    if (value === undefined) {
      this.#problems.push(`${name} is "${text}": set one of ${allowed.join(', ')}`);
    }
    return value ?? byDefault;
  }

  /** `parse` answers undefined for what it does not take; it takes what is so by default. */
  parsed<T>(
    name: string,
    byDefault: string,
    parse: (text: string) => T | undefined,
    remedy: string,
  ): T {
    const text = this.text(name, byDefault);
    const value = parse(text);
    if (value === undefined) this.#problems.push(`${name} is "${text}": ${remedy}`);
    return (value ?? parse(byDefault)) as T;
  }

  /** Throws a ConfigurationError that names everything that is wrong. */
  check(): void {
    if (this.#problems.length > 0) throw new ConfigurationError(this.#problems);
  }
}
