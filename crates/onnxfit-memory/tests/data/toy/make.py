# Measures the six toy models of the twin with the real runtime and writes the tables beside this file.
# Needs the measuring harness (`ortmem` built, `models.py` run) in the working folder:
#   python make.py <this folder>
import sys, onnx, os
from check import *
OUT=sys.argv[1]
T=[('mlp',[dict(x=(8,256)),dict(x=(8,256)),dict(x=(16,256)),dict(x=(4096,256)),dict(x=(4096,256)),dict(x=(8,256))]),
   ('dag_static',[{},{},{}]),('dag_dyn',[dict(x=(64,1000)),dict(x=(64,1000)),dict(x=(3000,1000)),dict(x=(3000,1000)),dict(x=(64,1000))]),
   ('convchain',[dict(x=(1,3,32,32)),dict(x=(1,3,32,32)),dict(x=(2,3,224,224)),dict(x=(2,3,224,224)),dict(x=(1,3,32,32))]),
   ('attn',[dict(x=(2,16,128)),dict(x=(2,16,128)),dict(x=(4,512,128)),dict(x=(4,512,128)),dict(x=(1,8,128))]),
   ('twoin',[dict(a=(64,1000),b=(64,1000)),dict(a=(64,1000),b=(64,1000)),dict(a=(8,100),b=(8,100)),dict(a=(512,1000),b=(512,1000)),dict(a=(512,1000),b=(512,1000))])]
fmt=lambda f: ';'.join(f"{k}={'x'.join(map(str,v))}" for k,v in f.items()) or '-'
KEYS=('InUse','MaxInUse','NumAllocs','NumReserves','NumArenaExtensions','MaxAllocSize','TotalAllocated','RequestedInUse')
shapes=open(f'{OUT}/shapes.txt','w'); meas=open(f'{OUT}/measured.txt','w')
print('# model feeds value element-type dims',file=shapes)
print('# onnxruntime 1.31.1, CPU, one thread, optimization off. model arena pattern feeds-of-all-runs',file=meas)
print('# then a line a checkpoint: '+' '.join(KEYS),file=meas)
ARENAS=[('default',None),('same',dict(arena_extend_strategy=1)),('small',dict(arena_extend_strategy=0,initial_chunk_size_bytes=4096,max_dead_bytes_per_chunk=65536))]
for name,runs in T:
    m=onnx.load(name+'.onnx')
    for t in m.graph.initializer:
        n=1
        for d in t.dims: n*=d
        if t.data_type==1 and n>16: t.ClearField('raw_data'); t.ClearField('float_data')
    onnx.save(m,f'{OUT}/{name}.onnx')
    s=Sim(name+'.onnx'); seen=set()
    for f in runs:
        if fmt(f) in seen: continue
        seen.add(fmt(f))
        for k,(e,d) in s.shapes(f).items(): print(name,fmt(f),k,onnx.TensorProto.DataType.Name(e).lower(),'x'.join(map(str,d)) or '-',file=shapes)
    for an,ar in ARENAS:
        for pat in (True,False):
            r,e,o=real(name+'.onnx',runs,0,ar,() if pat else ('--nopattern',))
            print(name,an,'on' if pat else 'off',' '.join(fmt(f) for f in runs),file=meas)
            for t in r: print(' ',t,*[r[t][k] for k in KEYS],file=meas)
B=[('dag_dyn',[dict(x=(3000,1000))]),('dag_dyn',[dict(x=(3000,1000)),dict(x=(3000,1000))]),('convchain',[dict(x=(2,3,224,224))]),('attn',[dict(x=(4,512,128))]),('mlp',[dict(x=(4096,256)),dict(x=(4096,256))]),('twoin',[dict(a=(64,1000),b=(64,1000)),dict(a=(512,1000),b=(512,1000))])]
import re
bo=open(f'{OUT}/boundaries.txt','w')
print('# onnxruntime 1.31.1, CPU, one thread, optimization off. model strategy pattern smallest-limit-that-runs feeds-of-all-runs',file=bo)
print('# then, for three limits below it: the limit, the failed operator and node, the text',file=bo)
def bs(f,lo,hi,step=256):
    lo//=step; hi=-(-hi//step)
    while lo<hi:
        m=(lo+hi)//2
        if f(m*step): hi=m
        else: lo=m+1
    return lo*step
for name,runs in B:
    base=sum(reserves_of(name+'.onnx',0))
    for ext in (0,1):
        for pat in (True,False):
            A=lambda L:dict(max_mem=L,arena_extend_strategy=ext)
            fr=lambda L:real(name+'.onnx',runs,0,A(L),() if pat else ('--nopattern',))[1]
            lim=bs(lambda L:not fr(L),base+256,1<<29)
            print(name,'same' if ext else 'power','on' if pat else 'off',lim,' '.join(fmt(f) for f in runs),file=bo)
            for L in (lim-256,int(base+(lim-base)*0.6)//256*256,int(base+(lim-base)*0.25)//256*256):
                e=fr(L)[0]; op,node=re.search(r"while running (\S+) node. Name:'([^']*)'",e).groups(); txt=re.search(r'(Available memory of .*|Failed to alloc.*)',e).group(1)
                print(' ',L,op,node,txt,file=bo)
