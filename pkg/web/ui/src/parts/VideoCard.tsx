import { bytes, runtime } from "../model/format";
import { qualityOf } from "../model/job";
import { path } from "../model/router";
import type { Video } from "../model/types";
import { Glyph } from "./Icon";
import { memo } from "./memo";
import { Ago } from "./Time";

export const VideoCard = memo(function VideoCard({ video }: { video: Video }) {
  return (
    <li class="video">
      <a href={path.video(video.path)}>
        <span class="poster">
          {video.poster ? <img src={path.media(video.poster)} alt="" loading="lazy" /> : <Glyph name="media" />}
          {video.seconds ? <span class="length num">{runtime(video.seconds)}</span> : null}
        </span>
        <span class="name clip" title={video.name}>{video.name}</span>
      </a>
      <span class="muted small clip">{qualityOf(video)}, <span class="num">{bytes(video.bytes)}</span>, <Ago at={video.modified} /></span>
    </li>
  );
});
