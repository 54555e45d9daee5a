export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function isObject(value: unknown): value is { [name: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// patched returns what a JSON merge patch (RFC 7396) makes of a value. What the patch
// does not mention is the same object as before, so that views can tell what changed.
export function patched(value: unknown, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const next: { [name: string]: Json } = isObject(value) ? { ...value } : {};
  for (const [name, change] of Object.entries(patch)) {
    if (change === null) delete next[name];
    else next[name] = patched(next[name], change);
  }
  return next;
}
