package transcode

// fields returns how r has the frames of a source made of its fields.
func (r Request) fields(v VideoStream) Fields {
	switch {
	case !v.Interlaced || r.Deinterlace == DeinterlaceOff:
		return FieldsFrame
	case r.Deinterlace == DeinterlaceField:
		return FieldsEach
	}
	return v.Fields
}

// rate returns the nominal rate of the frames that r has made of v.
func (r Request) rate(v VideoStream) Rational {
	switch r.fields(v) {
	case FieldsFilm:
		return Rational{24000, 1001}
	case FieldsEach:
		r := usualRate(v.Rate)
		return Rational{2 * r.Num, r.Den}
	}
	return v.Rate
}
