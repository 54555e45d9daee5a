package worker

const (
	// maxValueBytes is how much of a field is kept.
	maxValueBytes = 500
	// maxTags is the number of texts that are kept of a source, a stream or a chapter,
	// and of side data.
	maxTags = 100
)

func (f *format) set(key, value string) {
	switch key {
	case "format_name":
		f.FormatName = value
	case "start_time":
		f.StartTime = value
	case "duration":
		f.Duration = value
	case "size":
		f.Size = value
	case "bit_rate":
		f.BitRate = value
	}
}

func (c *chapter) set(key, value string) {
	switch key {
	case "start_time":
		c.StartTime = value
	case "end_time":
		c.EndTime = value
	}
}

func (s *stream) set(key, value string) {
	texts := map[string]*string{
		"id": &s.ID, "codec_type": &s.CodecType, "codec_name": &s.CodecName, "codec_tag_string": &s.CodecTag,
		"sample_aspect_ratio": &s.SampleAspectRatio, "pix_fmt": &s.PixFmt, "field_order": &s.FieldOrder,
		"avg_frame_rate": &s.AvgFrameRate, "r_frame_rate": &s.RFrameRate, "bit_rate": &s.BitRate, "sample_rate": &s.SampleRate,
		"color_range": &s.ColorRange, "color_space": &s.ColorSpace, "color_transfer": &s.ColorTransfer, "color_primaries": &s.ColorPrimaries,
	}
	numbers := map[string]*int{
		"index": &s.Index, "has_b_frames": &s.HasBFrames, "nb_frames": &s.Frames, "closed_captions": &s.Captions, "width": &s.Width, "height": &s.Height, "channels": &s.Channels,
		"DISPOSITION:attached_pic": &s.Disposition.AttachedPic, "DISPOSITION:timed_thumbnails": &s.Disposition.TimedThumbnails,
		"DISPOSITION:default": &s.Disposition.Default, "DISPOSITION:forced": &s.Disposition.Forced, "DISPOSITION:comment": &s.Disposition.Comment,
		"DISPOSITION:hearing_impaired": &s.Disposition.HearingImpaired, "DISPOSITION:visual_impaired": &s.Disposition.VisualImpaired,
	}
	switch {
	case texts[key] != nil:
		*texts[key] = value
	case numbers[key] != nil:
		*numbers[key] = whole(value)
	case key == "side_data_type":
		if len(s.SideData) < maxTags {
			s.SideData = append(s.SideData, sideData{})
		}
	case len(s.SideData) > 0:
		s.SideData[len(s.SideData)-1].set(key, value)
	}
}

func (d *sideData) set(key, value string) {
	texts := map[string]*string{
		"red_x": &d.RedX, "red_y": &d.RedY, "green_x": &d.GreenX, "green_y": &d.GreenY, "blue_x": &d.BlueX, "blue_y": &d.BlueY,
		"white_point_x": &d.WhiteX, "white_point_y": &d.WhiteY, "min_luminance": &d.MinLight, "max_luminance": &d.MaxLight,
	}
	numbers := map[string]*int{"dv_profile": &d.Dolby, "dv_bl_signal_compatibility_id": &d.Compatible, "max_content": &d.MaxContent, "max_average": &d.MaxAverage}
	switch {
	case texts[key] != nil:
		*texts[key] = value
	case numbers[key] != nil:
		*numbers[key] = whole(value)
	case key == "rotation":
		d.Rotation = number(value)
	}
}

func (f *format) text(name, value string)  { f.Tags.add(name, value) }
func (c *chapter) text(name, value string) { c.Tags.add(name, value) }
func (s *stream) text(name, value string)  { s.Tags.add(name, value) }
func (p *packet) text(string, string)      {}

// add adds to a text of the source.
func (t *tags) add(name, value string) {
	before, known := (*t)[name]
	if !known && len(*t) >= maxTags || len(before)+len(value) > 2*maxValueBytes {
		return
	}
	if *t == nil {
		*t = tags{}
	}
	(*t)[name] = before + value
}
