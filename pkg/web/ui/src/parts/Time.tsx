import { now } from "../model/clock";
import { clock, exact, span, when } from "../model/format";

// Ago is a time as people say it; the exact one is its title.
export function Ago({ at }: { at: string }) {
  const date = new Date(at);
  return <time dateTime={at} title={exact(date)}>{when(date, now.value)}</time>;
}

// Since is how long ago that was, without the word.
export function Since({ at }: { at: string }) {
  return <span class="num">{span(Math.max(0, (now.value.getTime() - new Date(at).getTime()) / 1000))}</span>;
}

// Until is the time at which something will be done, and how long that is.
export function Until({ seconds }: { seconds: number }) {
  const at = new Date(now.value.getTime() + seconds * 1000);
  return <span class="num" title={exact(at)}>{span(seconds)} left, done at {clock(at)}</span>;
}
