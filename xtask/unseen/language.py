"""Language and speech models of `transformers`, small, with random weights, TorchScript exporter."""

import transformers as hf

from exporting import Case

TEXT = {"input_ids": ("ids", ["batch", "seq"]), "attention_mask": ("mask", ["batch", "seq"])}
SIZES = [{"batch": 2, "seq": 24}, {"batch": 3, "seq": 77}]
SMALL = dict(vocab_size=400, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)


def causal(config):
    def make():
        config.use_cache = False
        config._attn_implementation = "eager"
        return hf.AutoModelForCausalLM.from_config(config, attn_implementation="eager")

    return make


def encoder(config, kind=hf.AutoModel):
    def make():
        config.use_cache = False
        try:
            return kind.from_config(config, attn_implementation="eager")
        except ValueError:
            return kind.from_config(config)

    return make


def catalogue():
    grouped = dict(SMALL, num_key_value_heads=2, max_position_embeddings=256)
    yield "llama", Case(causal(hf.LlamaConfig(**grouped)), TEXT, SIZES)
    yield "mistral", Case(causal(hf.MistralConfig(**grouped, sliding_window=None)), TEXT, SIZES)
    yield "qwen2", Case(causal(hf.Qwen2Config(**grouped)), TEXT, SIZES, opset=18)
    yield "gemma", Case(causal(hf.GemmaConfig(**grouped, head_dim=16)), TEXT, SIZES)
    yield "phi", Case(causal(hf.PhiConfig(**SMALL, max_position_embeddings=256)), TEXT, SIZES)
    yield "stablelm", Case(causal(hf.StableLmConfig(**grouped)), TEXT, SIZES)
    yield "olmo", Case(causal(hf.OlmoConfig(**grouped)), TEXT, SIZES)
    yield "starcoder2", Case(causal(hf.Starcoder2Config(**grouped)), TEXT, SIZES)
    yield "gpt_neox", Case(causal(hf.GPTNeoXConfig(**SMALL, max_position_embeddings=256)), TEXT, SIZES)
    small_gpt = dict(vocab_size=400, n_embd=64, n_layer=2, n_head=4, n_positions=256)
    yield "gpt2", Case(causal(hf.GPT2Config(**small_gpt)), TEXT, SIZES)
    yield "gptj", Case(causal(hf.GPTJConfig(**small_gpt, rotary_dim=8)), TEXT, SIZES)
    yield "gpt_bigcode", Case(causal(hf.GPTBigCodeConfig(**small_gpt)), TEXT, SIZES, opset=14)
    yield "gpt_neo", Case(causal(hf.GPTNeoConfig(vocab_size=400, hidden_size=64, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], max_position_embeddings=256)), TEXT, SIZES)
    yield "opt", Case(causal(hf.OPTConfig(vocab_size=400, hidden_size=64, word_embed_proj_dim=64, num_hidden_layers=2, num_attention_heads=4, ffn_dim=128, max_position_embeddings=256)), TEXT, SIZES, opset=15)
    yield "bloom", Case(causal(hf.BloomConfig(vocab_size=400, hidden_size=64, n_layer=2, n_head=4)), TEXT, SIZES)
    yield "falcon", Case(causal(hf.FalconConfig(vocab_size=400, hidden_size=64, num_hidden_layers=2, num_attention_heads=4)), TEXT, SIZES)
    yield "codegen", Case(causal(hf.CodeGenConfig(**small_gpt, rotary_dim=8)), TEXT, SIZES)
    yield "mpt", Case(causal(hf.MptConfig(vocab_size=400, d_model=64, n_layers=2, n_heads=4, max_seq_len=256)), TEXT, SIZES)
    yield "xglm", Case(causal(hf.XGLMConfig(vocab_size=400, d_model=64, num_layers=2, attention_heads=4, ffn_dim=128, max_position_embeddings=256)), TEXT, SIZES)

    bert = dict(SMALL, max_position_embeddings=256)
    yield "bert", Case(encoder(hf.BertConfig(**bert)), TEXT, SIZES)
    yield "bert_opset13_cls", Case(encoder(hf.BertConfig(**bert), hf.AutoModelForSequenceClassification), TEXT, SIZES, opset=13)
    yield "bert_mlm", Case(encoder(hf.BertConfig(**bert), hf.AutoModelForMaskedLM), TEXT, SIZES, opset=14)
    yield "roberta", Case(encoder(hf.RobertaConfig(**bert)), TEXT, SIZES)
    yield "xlm_roberta_tokens", Case(encoder(hf.XLMRobertaConfig(**bert), hf.AutoModelForTokenClassification), TEXT, SIZES, opset=15)
    yield "camembert_qa", Case(encoder(hf.CamembertConfig(**bert), hf.AutoModelForQuestionAnswering), TEXT, SIZES)
    yield "electra", Case(encoder(hf.ElectraConfig(**bert, embedding_size=32)), TEXT, SIZES)
    yield "albert", Case(encoder(hf.AlbertConfig(**bert, embedding_size=32)), TEXT, SIZES)
    yield "mpnet", Case(encoder(hf.MPNetConfig(**bert)), TEXT, SIZES)
    yield "deberta", Case(encoder(hf.DebertaConfig(**bert, relative_attention=True, pos_att_type=["c2p", "p2c"])), TEXT, SIZES)
    yield "deberta_v2", Case(encoder(hf.DebertaV2Config(**bert, relative_attention=True, position_buckets=32, pos_att_type=["c2p", "p2c"], share_att_key=True)), TEXT, SIZES)
    yield "distilbert", Case(encoder(hf.DistilBertConfig(vocab_size=400, dim=64, n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=256)), TEXT, SIZES, opset=16)
    yield "mobilebert", Case(encoder(hf.MobileBertConfig(**dict(bert, intermediate_size=64), embedding_size=32, intra_bottleneck_size=32)), TEXT, SIZES)
    yield "squeezebert", Case(encoder(hf.SqueezeBertConfig(**bert, embedding_size=64)), TEXT, SIZES)
    yield "convbert", Case(encoder(hf.ConvBertConfig(**bert, embedding_size=64)), TEXT, SIZES)
    yield "ibert", Case(encoder(hf.IBertConfig(**bert)), TEXT, SIZES)
    yield "funnel", Case(encoder(hf.FunnelConfig(vocab_size=400, block_sizes=[1, 1], d_model=64, n_head=4, d_head=16, d_inner=128)), TEXT, SIZES)
    yield "xlnet", Case(encoder(hf.XLNetConfig(vocab_size=400, d_model=64, n_layer=2, n_head=4, d_inner=128)), TEXT, SIZES)
    yield "xlm", Case(encoder(hf.XLMConfig(vocab_size=400, emb_dim=64, n_layers=2, n_heads=4, max_position_embeddings=256)), TEXT, SIZES)
    yield "roformer", Case(encoder(hf.RoFormerConfig(**bert)), TEXT, SIZES)
    yield "fnet", Case(encoder(hf.FNetConfig(**{k: v for k, v in bert.items() if k != "num_attention_heads"})), {"input_ids": ("ids", ["batch", "seq"])}, SIZES)
    yield "nystromformer", Case(encoder(hf.NystromformerConfig(**dict(bert, max_position_embeddings=64), segment_means_seq_len=64, num_landmarks=16)), TEXT, [{"batch": 2, "seq": 64}])
    yield "longformer", Case(encoder(hf.LongformerConfig(**bert, attention_window=16)), TEXT, [{"batch": 2, "seq": 64}])
    yield "data2vec_text", Case(encoder(hf.Data2VecTextConfig(**bert)), TEXT, SIZES)
    yield "modernbert", Case(encoder(hf.ModernBertConfig(**bert, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2, reference_compile=False)), TEXT, SIZES)

    seq2seq = dict(TEXT, decoder_input_ids=("ids", ["batch", "dec"]))
    both = [{"batch": 2, "seq": 24, "dec": 7}, {"batch": 3, "seq": 50, "dec": 16}]
    bart = dict(vocab_size=400, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2)
    auto = hf.AutoModelForSeq2SeqLM
    yield "bart", Case(encoder(hf.BartConfig(**bart), auto), seq2seq, both)
    yield "mbart", Case(encoder(hf.MBartConfig(**bart), auto), seq2seq, both)
    yield "marian", Case(encoder(hf.MarianConfig(**bart), auto), seq2seq, both)
    yield "pegasus", Case(encoder(hf.PegasusConfig(**bart), auto), seq2seq, both)
    yield "m2m100", Case(encoder(hf.M2M100Config(**bart), auto), seq2seq, both)
    yield "t5", Case(encoder(hf.T5Config(vocab_size=400, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4), auto), seq2seq, both)
    yield "flan_t5_gated", Case(encoder(hf.T5Config(vocab_size=400, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"), auto), seq2seq, both, opset=15)
    yield "led", Case(encoder(hf.LEDConfig(**{k: v for k, v in bart.items() if k != "max_position_embeddings"}, max_encoder_position_embeddings=256, max_decoder_position_embeddings=256, attention_window=16), auto), seq2seq, [{"batch": 2, "seq": 32, "dec": 7}])
    yield "prophetnet", Case(encoder(hf.ProphetNetConfig(vocab_size=400, hidden_size=64, num_encoder_layers=2, num_decoder_layers=2, num_encoder_attention_heads=4, num_decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_position_embeddings=256), auto), seq2seq, both)

    whisper = hf.WhisperConfig(vocab_size=400, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, max_source_positions=60, max_target_positions=64, num_mel_bins=20, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, suppress_tokens=None, begin_suppress_tokens=None)
    yield "whisper", Case(encoder(whisper, hf.AutoModelForSpeechSeq2Seq), {"input_features": ("float", ["batch", 20, 120]), "decoder_input_ids": ("ids", ["batch", "dec"])}, [{"batch": 1, "dec": 5}, {"batch": 2, "dec": 9}])
    wave = dict(vocab_size=40, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, conv_dim=(32, 32, 32), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 3), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, num_feat_extract_layers=3)
    sound = {"input_values": ("float", ["batch", "samples"])}
    sounds = [{"batch": 1, "samples": 4000}, {"batch": 2, "samples": 6400}]
    yield "wav2vec2_ctc", Case(encoder(hf.Wav2Vec2Config(**wave), hf.AutoModelForCTC), sound, sounds)
    yield "hubert", Case(encoder(hf.HubertConfig(**wave)), sound, sounds)
    yield "wavlm", Case(encoder(hf.WavLMConfig(**wave)), sound, sounds)
    yield "sew", Case(encoder(hf.SEWConfig(**wave, squeeze_factor=2)), sound, sounds)
    yield "unispeech", Case(encoder(hf.UniSpeechConfig(**wave)), sound, sounds)
    yield "data2vec_audio", Case(encoder(hf.Data2VecAudioConfig(**{k: v for k, v in wave.items() if k not in ("num_conv_pos_embeddings",)}, conv_pos_kernel_size=5, num_conv_pos_embeddings=2)), sound, sounds)
    yield "wav2vec2_conformer", Case(encoder(hf.Wav2Vec2ConformerConfig(**wave, position_embeddings_type="rotary")), sound, sounds)
    yield "ast", Case(encoder(hf.ASTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, max_length=128, num_mel_bins=32)), {"input_values": ("float", ["batch", 128, 32])}, [{"batch": 1}, {"batch": 3}])
    yield "speech_to_text", Case(encoder(hf.Speech2TextConfig(vocab_size=400, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128, decoder_ffn_dim=128, input_feat_per_channel=20, conv_channels=64, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2), hf.AutoModelForSpeechSeq2Seq), {"input_features": ("float", ["batch", "frames", 20]), "decoder_input_ids": ("ids", ["batch", "dec"])}, [{"batch": 1, "frames": 80, "dec": 5}, {"batch": 2, "frames": 120, "dec": 9}])


def cases():
    for name, case in catalogue():
        yield name, case.write, case.variants()
