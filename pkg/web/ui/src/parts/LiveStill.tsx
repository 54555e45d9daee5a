import Hls from "hls.js";
import { useEffect, useRef, useState } from "preact/hooks";

// A LiveStill is what a live stream showed when the page was opened: the first picture of its
// smallest rendition, after which nothing more is loaded.
export function LiveStill({ address }: { address: string }) {
  const video = useRef<HTMLVideoElement>(null);
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const element = video.current;
    if (!element || !Hls.isSupported()) return;
    const hls = new Hls({ enableWorker: false, startLevel: 0, maxBufferLength: 1, lowLatencyMode: false });
    element.onloadeddata = () => { hls.stopLoad(); setShown(true); };
    hls.loadSource(address);
    hls.attachMedia(element);
    return () => { element.onloadeddata = null; hls.destroy(); };
  }, [address]);
  return <video ref={video} class={shown ? "shown" : ""} muted playsInline tabIndex={-1} aria-hidden="true" title="When this page was opened" />;
}
