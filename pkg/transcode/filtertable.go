package transcode

// A line of a table names a filter, what it does to the work and then its options as ffmpeg
// orders them, because options can stand without their names. A dash is an option
// that is refused, since it names a file or hides what it does. Aliases are separated
// by slashes. The tables follow ffmpeg -h filter=NAME, versions 5.1 to 7.1.

// videoFilters are the video filters that are passed on: each reads one frame at a
// time, memory reads other frames as well.
const videoFilters = `
atadenoise memory 0a 0b 1a 1b 2a 2b s p a 0s 1s 2s
avgblur each sizeX planes sizeY
bilateral each sigmaS sigmaR planes
boxblur each luma_radius/lr luma_power/lp chroma_radius/cr chroma_power/cp alpha_radius/ar alpha_power/ap
bwdif memory mode parity deint
chromashift each cbh cbv crh crv edge
colorbalance each rs gs bs rm gm bm rh gh bh pl
colorchannelmixer each rr rg rb ra gr gg gb ga br bg bb ba ar ag ab aa pc pa
colorcorrect each rl bl rh bh saturation analyze
colorize each hue saturation lightness mix
colorlevels each rimin gimin bimin aimin rimax gimax bimax aimax romin gomin bomin aomin romax gomax bomax aomax preserve
colorspace each all space range primaries trc format fast dither wpadapt iall ispace irange iprimaries itrc
colortemperature each temperature mix pl
crop each out_w/w out_h/h x y keep_aspect exact
curves each preset master/m red/r green/g blue/b all - -
dctdnoiz memory sigma/s overlap expr/e n
deband each 1thr 2thr 3thr 4thr range/r direction/d blur/b coupling/c
deblock each filter block alpha beta gamma delta planes
decimate memory cycle dupthresh scthresh blockx blocky ppsrc chroma
deflicker memory size/s mode/m bypass
deshake memory x y w h rx ry edge blocksize contrast search - opencl
detelecine memory first_field pattern start_frame
dilation each coordinates threshold0 threshold1 threshold2 threshold3
drawbox each x y width/w height/h color/c thickness/t replace box_source
drawgrid each x y width/w height/h color/c thickness/t replace
drawtext each - text - fontcolor - boxcolor bordercolor shadowcolor box boxborderw line_spacing fontsize x y shadowx shadowy borderw tabsize basetime font expansion timecode tc24hmax timecode_rate/r/rate - alpha fix_bounds start_number - text_shaping ft_load_flags
edgedetect each high low mode planes
eq each contrast brightness saturation gamma gamma_r gamma_g gamma_b gamma_weight eval
erosion each coordinates threshold0 threshold1 threshold2 threshold3
exposure each exposure black
fade memory type/t start_frame/s nb_frames/n alpha start_time/st duration/d color/c
fieldmatch memory order mode ppsrc field mchroma y0/y1 scthresh combmatch combdbg cthresh chroma blockx blocky combpel
fieldorder memory order
fillborders each left right top bottom mode color
format each pix_fmts
fps memory fps start_time round eof_action
framerate memory fps interp_start interp_end scene flags
framestep memory step
gblur each sigma steps planes sigmaV
hflip each
hqdn3d memory luma_spatial chroma_spatial luma_tmp chroma_tmp
hue each h s H b
huesaturation each hue saturation intensity colors strength rw gw bw lightness
idet memory intl_thres prog_thres rep_thres half_life analyze_interlaced_flag
interlace memory scan lowpass
kerndeint memory thresh map order sharp twoway
lagfun memory decay planes
limiter each min max planes
lut each c0 c1 c2 c3 y u v r g b a
lutrgb each c0 c1 c2 c3 y u v r g b a
lutyuv each c0 c1 c2 c3 y u v r g b a
median each radius planes radiusV percentile
minterpolate memory fps mi_mode mc_mode me_mode me mb_size search_param vsbmc scd scd_threshold
monochrome each cb cr size high
mpdecimate memory max hi lo frac
negate each components negate_alpha
nlmeans each s p pc r rc
noise memory all_seed all_strength/alls all_flags/allf c0_seed c0_strength/c0s c0_flags/c0f c1_seed c1_strength/c1s c1_flags/c1f c2_seed c2_strength/c2s c2_flags/c2f c3_seed c3_strength/c3s c3_flags/c3f
normalize memory blackpt whitept smoothing independence strength
null each
pad each width/w height/h x y color eval aspect
pullup memory jl jr jt jb sb mp
random memory frames seed
reverse memory
rgbashift each rh rv gh gv bh bv ah av edge
rotate each angle/a out_w/ow out_h/oh fillcolor/c bilinear
scale each w/width h/height flags interl in_color_matrix out_color_matrix in_range out_range in_v_chr_pos in_h_chr_pos out_v_chr_pos out_h_chr_pos force_original_aspect_ratio force_divisible_by param0 param1 eval
select memory expr/e outputs/n
separatefields memory
setdar each dar/ratio/r max
setpts memory expr
setsar each sar/ratio/r max
smartblur each luma_radius/lr luma_strength/ls luma_threshold/lt chroma_radius/cr chroma_strength/cs chroma_threshold/ct
swapuv each
tblend memory c0_mode c1_mode c2_mode c3_mode all_mode c0_expr c1_expr c2_expr c3_expr all_expr c0_opacity c1_opacity c2_opacity c3_opacity all_opacity
telecine memory first_field pattern
thumbnail memory n
tinterlace memory mode
tmix memory frames weights scale planes
tonemap each tonemap param desat peak
tpad memory start stop start_mode stop_mode start_duration stop_duration color
transpose each dir passthrough
trim memory start/starti end/endi start_pts end_pts duration/durationi start_frame end_frame
unsharp each luma_msize_x/lx luma_msize_y/ly luma_amount/la chroma_msize_x/cx chroma_msize_y/cy chroma_amount/ca alpha_msize_x/ax alpha_msize_y/ay alpha_amount/aa
vaguedenoiser memory threshold method nsteps percent planes type
vflip each
vibrance each intensity rbal gbal bbal rlum glum blum alternate
vignette each angle/a x0 y0 mode eval dither aspect
w3fdif memory filter mode parity deint
weave memory first_field
yadif memory mode parity deint
zscale each w/width h/height size/s dither/d filter/f out_range/range/r primaries/p transfer/t matrix/m in_range/rangein/rin primariesin/pin transferin/tin matrixin/min chromal/c chromalin/cin npl agamma param_a param_b
`

// audioFilters are the audio filters that are passed on. A filter of memory can make
// the audio longer or shorter, the others cannot.
const audioFilters = `
acompressor each level_in mode threshold ratio attack release makeup knee link detection level_sc mix
acontrast each contrast
adelay each delays all
adynamicequalizer each threshold dfrequency dqfactor tfrequency tqfactor attack release knee ratio makeup range slew mode tftype
aecho each in_gain out_gain delays decays
afade each type/t start_sample/ss nb_samples/ns start_time/st duration/d curve/c
afftdn each noise_reduction/nr noise_floor/nf noise_type/nt band_noise/bn residual_floor/rf track_noise/tn track_residual/tr output_mode/om adaptivity/ad floor_offset/fo noise_link/nl band_multiplier/bm sample_noise/sn gain_smooth/gs
aformat each sample_fmts/f sample_rates/r channel_layouts/cl
agate each level_in mode range threshold ratio attack release makeup knee detection link level_sc
alimiter each level_in level_out limit attack release asc asc_level level latency
anlmdn each strength/s patch/p research/r output/o smooth/m
anull each
apad each packet_size pad_len whole_len pad_dur whole_dur
aresample each sample_rate async first_pts osr/out_sample_rate osf/out_sample_fmt resampler precision min_comp min_hard_comp max_soft_comp dither_method filter_size
asetpts memory expr
asetrate memory sample_rate/r
asoftclip each type threshold output param oversample
atempo memory tempo
atrim memory start/starti end/endi start_pts end_pts duration/durationi start_sample end_sample
bandpass each frequency/f width_type/t width/w csg mix/m channels/c normalize/n transform/a precision/r blocksize/b
bandreject each frequency/f width_type/t width/w mix/m channels/c normalize/n transform/a precision/r blocksize/b
bass each frequency/f width_type/t width/w gain/g poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
channelmap each map channel_layout
chorus each in_gain out_gain delays decays speeds depths
compand each attacks decays points soft-knee gain volume delay
crystalizer each i c
dcshift each shift limitergain
deesser each i m f s
dynaudnorm each framelen/f gausssize/g peak/p maxgain/m targetrms/r coupling/n correctdc/c altboundary/b compress/s threshold/t channels/h overlap/o
earwax each
equalizer each frequency/f width_type/t width/w gain/g mix/m channels/c normalize/n transform/a precision/r blocksize/b
extrastereo each m c
haas each level_in level_out side_gain middle_source middle_phase left_delay left_balance left_gain left_phase right_delay right_balance right_gain right_phase
highpass each frequency/f width_type/t width/w poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
highshelf each frequency/f width_type/t width/w gain/g poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
loudnorm each I/i LRA/lra TP/tp measured_I/measured_i measured_LRA/measured_lra measured_TP/measured_tp measured_thresh offset linear dual_mono print_format
lowpass each frequency/f width_type/t width/w poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
lowshelf each frequency/f width_type/t width/w gain/g poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
pan each args
silenceremove memory start_periods start_duration start_threshold start_silence start_mode stop_periods stop_duration stop_threshold stop_silence stop_mode detection window
speechnorm each peak/p expansion/e compression/c threshold/t raise/r fall/f channels/h invert/i link/l
stereotools each level_in level_out balance_in balance_out softclip mutel muter phasel phaser mode slev sbal mlev mpan base delay sclevel phase bmode_in bmode_out
stereowiden each delay feedback crossfeed drymix
treble each frequency/f width_type/t width/w gain/g poles/p mix/m channels/c normalize/n transform/a precision/r blocksize/b
tremolo each f d
vibrato each f d
volume each volume precision eval replaygain replaygain_preamp replaygain_noclip
`
